//! Settings of `rebuild-rollups`: the replica as the role that reads sales and writes rollups.

use clap::Args;
use tandem_chassis::settings::{DatabaseSettings, LogSettings, SecretError};

use super::{ONE, QueryPassword, Replica};

/// Settings of `rebuild-rollups`.
#[derive(Clone, Debug, Args)]
pub struct RebuildSettings {
    /// The replica.
    #[command(flatten)]
    pub replica: Replica,
    /// Who reads sales and writes rollups.
    #[arg(long, env = "TANDEM_REPLICA_USER", default_value = "tandem_query")]
    pub user: String,
    /// The password of that role.
    #[command(flatten)]
    pub password: QueryPassword,
    /// Logs.
    #[command(flatten)]
    pub log: LogSettings,
}

impl RebuildSettings {
    /// The replica, as the role that reads sales and writes rollups.
    pub fn database(&self) -> Result<DatabaseSettings, SecretError> {
        Ok(self.replica.database_settings(&self.user, self.password.resolve()?, ONE, "tandem-query-rebuild"))
    }
}
