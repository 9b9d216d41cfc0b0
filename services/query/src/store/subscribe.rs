//! The replica's subscription.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tandem_replication::PUBLICATION;

use super::slot::{self, SlotError};

/// Where a replica's changes come from: the primary, as `tandem_replication`.
#[derive(Debug)]
pub struct Upstream {
    /// Host as the replica's server reaches it.
    pub host: String,
    /// Port as the replica's server reaches it.
    pub port: u16,
    /// Name of the primary's database.
    pub database: String,
    /// A role that may replicate.
    pub user: String,
    /// Its password.
    pub password: SecretString,
    /// libpq's sslmode.
    pub ssl_mode: &'static str,
    /// libpq's sslrootcert: a file on the replica's server.
    pub ssl_root_cert: Option<String>,
}

/// How a replica subscribes.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Name of the subscription and of its slot on the primary.
    pub subscription: String,
    /// Whether a slot that another replica has left may be used.
    pub take_over_slot: bool,
}

/// Why a replica could not be subscribed.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// There is no slot for it on the primary.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// A step failed.
    #[error("can't {step}")]
    Step {
        /// Which step.
        step: &'static str,
        /// What the driver said.
        source: sqlx::Error,
    },
}

/// Creates the subscription, or brings it up to date.
pub(super) async fn subscribe(
    admin: &mut PgConnection,
    upstream_connection: &mut PgConnection,
    upstream: &Upstream,
    Subscriber { subscription, take_over_slot }: &Subscriber,
) -> Result<(), SubscribeError> {
    let during = |step| move |source| SubscribeError::Step { step, source };
    hide_statements(admin).await.map_err(during("keep the password out of the server's log"))?;
    if exists(admin, subscription).await.map_err(during("look for the subscription"))? {
        refresh(admin, subscription, upstream).await.map_err(during("refresh the subscription"))
    } else {
        slot::reserve(admin, upstream_connection, subscription, *take_over_slot).await?;
        create(admin, subscription, upstream).await.map_err(during("create the subscription"))
    }
}

/// The statements that follow hold the upstream's password, and a server that is asked to logs statements: those that
/// fail by default, all or slow ones where an operator wants it so. Nor are they kept by pg_stat_statements, whose
/// setting can be made whether it is loaded or not.
async fn hide_statements(admin: &mut PgConnection) -> Result<(), sqlx::Error> {
    let settings = "
        set log_statement = 'none';
        set log_min_error_statement = 'panic';
        set log_min_duration_statement = -1;
        set log_min_duration_sample = -1;
        set log_transaction_sample_rate = 0;
        set log_parameter_max_length_on_error = 0;
        set pg_stat_statements.track_utility = off;
    ";
    sqlx::raw_sql(settings).execute(admin).await.map(drop)
}

async fn exists(admin: &mut PgConnection, subscription: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from pg_catalog.pg_subscription
            where subname = $1::text
                and subdbid = (select oid from pg_catalog.pg_database where datname = current_database())
        ) as "exists!"
        "#,
        subscription
    )
    .fetch_one(admin)
    .await
}

/// Values travel as they are stored: no side has to write or read numbers as text. Both sides' columns have the same types,
/// which this asks for. Large transactions travel while they run.
///
/// In one transaction with the end of the slot's reservation: from now on the slot is the subscription's.
async fn create(admin: &mut PgConnection, subscription: &str, upstream: &Upstream) -> Result<(), sqlx::Error> {
    let mut transaction = admin.begin().await?;
    let statement = sqlx::query_scalar!(
        r#"
        select format(
            'create subscription %I connection %L publication %I
            with (create_slot = false, slot_name = %L, copy_data = true, disable_on_error = false, binary = true,
            streaming = on)',
            $1::text, $2::text, $3::text, $1::text
        ) as "statement!"
        "#,
        subscription,
        connection_string(upstream, subscription),
        PUBLICATION,
    )
    .fetch_one(&mut *transaction)
    .await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    slot::end_reservation(&mut transaction, subscription).await?;
    transaction.commit().await
}

/// Points an existing subscription to where the primary is now, and at the tables that it publishes now.
async fn refresh(admin: &mut PgConnection, subscription: &str, upstream: &Upstream) -> Result<(), sqlx::Error> {
    let statements = sqlx::query!(
        r#"
        select
            format('alter subscription %I connection %L', $1::text, $2::text) as "connect!",
            format('alter subscription %I set (binary = true, streaming = on)', $1::text) as "transfer!",
            format('alter subscription %I enable', $1::text) as "enable!",
            format('alter subscription %I refresh publication', $1::text) as "refresh!"
        "#,
        subscription,
        connection_string(upstream, subscription),
    )
    .fetch_one(&mut *admin)
    .await?;
    for statement in [statements.connect, statements.transfer, statements.enable, statements.refresh] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *admin).await?;
    }
    Ok(())
}

/// The upstream as libpq reads it: `key='value'`, quotes and backslashes escaped.
fn connection_string(upstream: &Upstream, application_name: &str) -> String {
    let port = upstream.port.to_string();
    let mut parts = vec![
        ("host", upstream.host.as_str()),
        ("port", &port),
        ("dbname", &upstream.database),
        ("user", &upstream.user),
        ("password", upstream.password.expose_secret()),
        ("sslmode", upstream.ssl_mode),
        ("application_name", application_name),
    ];
    if let Some(file) = &upstream.ssl_root_cert {
        parts.push(("sslrootcert", file));
    }
    let quoted = |(key, value): (&str, &str)| format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
    parts.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Upstream, connection_string};

    #[test]
    fn a_password_can_hold_any_character() {
        let upstream = Upstream {
            host: "primary".to_owned(),
            port: 5432,
            database: "tandem".to_owned(),
            user: "tandem_replication".to_owned(),
            password: r"it's a \ b".to_owned().into(),
            ssl_mode: "verify-full",
            ssl_root_cert: Some("/etc/ca.pem".to_owned()),
        };
        assert_eq!(
            connection_string(&upstream, "replica-1"),
            r"host='primary' port='5432' dbname='tandem' user='tandem_replication' password='it\'s a \\ b' sslmode='verify-full' application_name='replica-1' sslrootcert='/etc/ca.pem'"
        );
    }
}
