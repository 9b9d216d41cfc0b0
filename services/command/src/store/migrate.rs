//! Brings the primary to this build's schema.

use secrecy::SecretString;
use sqlx::{PgConnection, migrate::Migrator};
use tandem_chassis::migration::{self, MigrationError};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Passwords of the roles that log in; a role whose password is not given keeps the one it has.
#[derive(Debug, Default)]
pub struct Passwords {
    /// Of `tandem_command`.
    pub command: Option<SecretString>,
    /// Of `tandem_replication`.
    pub replication: Option<SecretString>,
    /// Of `tandem_monitor`.
    pub monitor: Option<SecretString>,
}

/// Applies what is missing of the migrations, then sets the passwords. Can be run again at any time.
pub async fn migrate(admin: &mut PgConnection, passwords: &Passwords) -> Result<(), MigrationError> {
    migration::apply(admin, &MIGRATIONS).await?;
    let roles = [
        ("tandem_command", &passwords.command),
        ("tandem_replication", &passwords.replication),
        ("tandem_monitor", &passwords.monitor),
    ];
    for (role, password) in roles {
        if let Some(password) = password {
            migration::set_password(admin, role, password).await?;
        }
    }
    Ok(())
}
