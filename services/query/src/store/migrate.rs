//! Brings the replica to this build's schema, then subscribes it to the primary.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, PgConnection, migrate::Migrator};
use tandem_chassis::migration::{self, MigrationError};
use tandem_replication::{PUBLICATION, Publication, Slot};

static MIGRATIONS: Migrator = sqlx::migrate!();

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

/// Why a replica could not be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// Connecting, a migration or a password.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// A migration of the primary is due first.
    #[error("the primary publishes no {PUBLICATION}: run `tandem-command migrate` first")]
    NoPublication,
    /// Another replica uses the name.
    #[error(
        "slot {slot} on the primary is in use by another replica: give this one a name of its own (TANDEM_SUBSCRIPTION)"
    )]
    SlotInUse {
        /// The slot's and the subscription's name.
        slot: String,
    },
    /// A step of subscribing failed.
    #[error("can't {step}")]
    Subscribe {
        /// Which step.
        step: &'static str,
        /// What the driver said.
        source: sqlx::Error,
    },
}

/// Applies what is missing of the migrations, sets the password of `tandem_query` where one is given, and creates the
/// subscription or brings it up to date. Can be run again at any time, also after it was killed half-way.
///
/// `upstream_connection` is a connection to the primary as the role of `upstream`.
pub async fn migrate(
    admin: &mut PgConnection,
    upstream_connection: &mut PgConnection,
    upstream: &Upstream,
    subscription: &str,
    query_password: Option<&SecretString>,
) -> Result<(), MigrateError> {
    migration::apply(admin, &MIGRATIONS).await?;
    if let Some(password) = query_password {
        migration::set_password(admin, "tandem_query", password).await?;
    }
    let step = |step| move |source| MigrateError::Subscribe { step, source };
    let publication = Publication::find(upstream_connection, PUBLICATION).await;
    if publication.map_err(step("read the primary's publication"))?.is_none() {
        return Err(MigrateError::NoPublication);
    }
    if exists(admin, subscription).await.map_err(step("look for the subscription"))? {
        refresh(admin, subscription, upstream).await.map_err(step("refresh the subscription"))
    } else {
        reserve_slot(upstream_connection, subscription).await?;
        create(admin, subscription, upstream).await.map_err(step("create the subscription"))
    }
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

/// Makes the slot in a step of its own. CREATE SUBSCRIPTION could do it, but killed at the wrong moment it leaves a
/// slot behind that makes every later try fail; here such a slot is taken over. Changes that it still holds from before
/// the initial copy are skipped by the apply worker.
async fn reserve_slot(upstream: &mut PgConnection, slot: &str) -> Result<(), MigrateError> {
    let step = |source| MigrateError::Subscribe { step: "reserve the replication slot", source };
    match Slot::find(&mut *upstream, slot).await.map_err(step)? {
        Some(found) if found.active => Err(MigrateError::SlotInUse { slot: slot.to_owned() }),
        Some(_) => Ok(()),
        None => {
            sqlx::query!("select lsn::text from pg_create_logical_replication_slot($1::text::name, 'pgoutput')", slot)
                .fetch_one(upstream)
                .await
                .map(drop)
                .map_err(step)
        }
    }
}

async fn create(admin: &mut PgConnection, subscription: &str, upstream: &Upstream) -> Result<(), sqlx::Error> {
    let statement = sqlx::query_scalar!(
        r#"
        select format(
            'create subscription %I connection %L publication %I
            with (create_slot = false, slot_name = %L, copy_data = true, disable_on_error = false)',
            $1::text, $2::text, $3::text, $1::text
        ) as "statement!"
        "#,
        subscription,
        connection_string(upstream, subscription),
        PUBLICATION,
    )
    .fetch_one(&mut *admin)
    .await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(admin).await.map(drop)
}

/// Points an existing subscription to where the primary is now, and at the tables that it publishes now.
async fn refresh(admin: &mut PgConnection, subscription: &str, upstream: &Upstream) -> Result<(), sqlx::Error> {
    let statements = sqlx::query!(
        r#"
        select
            format('alter subscription %I connection %L', $1::text, $2::text) as "connect!",
            format('alter subscription %I enable', $1::text) as "enable!",
            format('alter subscription %I refresh publication', $1::text) as "refresh!"
        "#,
        subscription,
        connection_string(upstream, subscription),
    )
    .fetch_one(&mut *admin)
    .await?;
    for statement in [statements.connect, statements.enable, statements.refresh] {
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
