//! Brings the replica to this build's schema, then subscribes it to the primary.

use secrecy::SecretString;
use sqlx::{PgConnection, migrate::Migrator};
use tandem_chassis::migration::{self, MigrationError};
use tandem_replication::{PUBLICATION, Publication};

use super::subscribe::{SubscribeError, Subscriber, Upstream, subscribe};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Why a replica could not be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// Connecting, a migration or a password.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// A migration of the primary is due first.
    #[error("the primary publishes no {PUBLICATION}: run `tandem-command migrate` first")]
    NoPublication,
    /// A migration of the replica is due first.
    #[error(
        "the primary publishes columns that this replica does not have: {}. Run `tandem-query migrate` of the release that \
         knows them; what is added goes to replicas first",
        columns.join(", ")
    )]
    ColumnsMissing {
        /// Each as schema.table.column.
        columns: Vec<String>,
    },
    /// The two sides can't be compared.
    #[error("can't compare what the primary publishes with what the replica has")]
    Compare(#[source] sqlx::Error),
    /// The replica is migrated and not subscribed.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
}

/// Applies what is missing of the migrations, sets the password of `tandem_query` where one is given, and creates the
/// subscription or brings it up to date. Can be run again at any time, also after it was killed half-way.
///
/// `upstream_connection` is a connection to the primary as the role of `upstream`. The session of `admin` writes no
/// statement into the server's log from then on: the upstream's password is in some.
pub async fn migrate(
    admin: &mut PgConnection,
    upstream_connection: &mut PgConnection,
    upstream: &Upstream,
    subscriber: &Subscriber,
    query_password: Option<&SecretString>,
) -> Result<(), MigrateError> {
    migration::apply(admin, &MIGRATIONS).await?;
    if let Some(password) = query_password {
        migration::set_password(admin, "tandem_query", password).await?;
    }
    let publication = Publication::find(upstream_connection, PUBLICATION).await;
    let publication = publication.map_err(MigrateError::Compare)?;
    let publication = publication.ok_or(MigrateError::NoPublication)?;
    let columns = publication.missing_in(admin).await.map_err(MigrateError::Compare)?;
    if !columns.is_empty() {
        return Err(MigrateError::ColumnsMissing { columns });
    }
    Ok(subscribe(admin, upstream_connection, upstream, subscriber).await?)
}
