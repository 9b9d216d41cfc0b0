//! What both services' `migrate` commands do alike: connect as an administrator, apply migrations, set passwords.

use postgres_protocol::password::scram_sha_256;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, PgConnection,
    migrate::{MigrateError, Migrator},
};

use crate::{database::connect_options, settings::DatabaseSettings};

/// Why a database could not be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The administrator can't connect.
    #[error("can't connect to {host}:{port} as {user}")]
    Connect {
        /// Where.
        host: String,
        /// Where.
        port: u16,
        /// As whom.
        user: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// A migration failed, or one that was applied before has changed since.
    #[error("the migrations can't be applied")]
    Apply(#[from] MigrateError),
    /// The password of a role can't be set.
    #[error("the password of role {role} can't be set")]
    SetPassword {
        /// Which role.
        role: String,
        /// What the driver said.
        source: sqlx::Error,
    },
}

/// One connection as an administrator.
pub async fn connect(settings: &DatabaseSettings) -> Result<PgConnection, MigrationError> {
    connect_options(settings).connect().await.map_err(|source| MigrationError::Connect {
        host: settings.host.clone(),
        port: settings.port,
        user: settings.user.clone(),
        source,
    })
}

/// The same database as a URL, password included: for libraries that take one.
#[must_use]
pub fn url(settings: &DatabaseSettings) -> String {
    connect_options(settings).to_url_lossy().into()
}

/// Applies the migrations that are missing, one at a time under an advisory lock.
pub async fn apply(admin: &mut PgConnection, migrations: &Migrator) -> Result<(), MigrationError> {
    migrations.run(admin).await?;
    Ok(())
}

/// Sets the password of a role. The server gets a SCRAM verifier, so the password itself is in no log of it.
pub async fn set_password(admin: &mut PgConnection, role: &str, password: &SecretString) -> Result<(), MigrationError> {
    let verifier = scram_sha_256(password.expose_secret().as_bytes());
    let set = async {
        // DDL takes no parameters: the server quotes them.
        let statement: String = sqlx::query_scalar("select format('alter role %I password %L', $1::text, $2::text)")
            .bind(role)
            .bind(verifier)
            .fetch_one(&mut *admin)
            .await?;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *admin).await
    };
    set.await.map(drop).map_err(|source| MigrationError::SetPassword { role: role.to_owned(), source })
}
