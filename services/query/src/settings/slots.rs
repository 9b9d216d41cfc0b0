//! Settings of `slots` and `cdc`: the primary as the role that may replicate.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;
use tandem_chassis::settings::{DatabaseSettings, LogSettings, Secret, SecretError};
use tandem_replication::{
    SUBSCRIPTION,
    slot_commands::{CdcCommand, SlotsCommand},
};

use super::Primary;

/// Settings of `slots`.
#[derive(Clone, Debug, Args)]
pub struct SlotSettings {
    /// What to do.
    #[command(subcommand)]
    pub command: SlotsCommand,
    /// The subscription of this replica, whose slot is not dropped.
    #[arg(long, env = "TANDEM_SUBSCRIPTION", default_value = SUBSCRIPTION)]
    pub subscription: String,
    /// Slots of others on the primary, by commas: of further replicas, say. They are not dropped either.
    #[arg(long, env = "TANDEM_KNOWN_SLOTS", value_name = "NAMES", value_delimiter = ',')]
    pub known_slots: Vec<String>,
    /// The primary, and who asks.
    #[command(flatten)]
    pub upstream: UpstreamSettings,
}

/// Settings of `cdc`.
#[derive(Clone, Debug, Args)]
pub struct CdcSettings {
    /// What to do.
    #[command(subcommand)]
    pub command: CdcCommand,
    /// The primary, and who asks.
    #[command(flatten)]
    pub upstream: UpstreamSettings,
}

/// The primary, as a role with REPLICATION.
#[derive(Clone, Debug, Args)]
pub struct UpstreamSettings {
    /// The primary.
    #[command(flatten)]
    primary: Primary,
    /// A role with REPLICATION: it sees every published row.
    #[arg(long, env = "TANDEM_REPLICATION_USER", default_value = "tandem_replication")]
    replication_user: String,
    /// The password of that role.
    #[arg(long, env = "TANDEM_REPLICATION_PASSWORD", hide_env_values = true)]
    replication_password: Option<SecretString>,
    /// A file with that password.
    #[arg(long, env = "TANDEM_REPLICATION_PASSWORD_FILE")]
    replication_password_file: Option<PathBuf>,
    /// Logs.
    #[command(flatten)]
    pub log: LogSettings,
}

impl SlotSettings {
    /// Names of slots that replicas use.
    pub fn replicas(&self) -> Vec<String> {
        self.known_slots.iter().chain([&self.subscription]).cloned().collect()
    }
}

impl UpstreamSettings {
    /// How the primary is reached.
    pub fn database(&self) -> Result<DatabaseSettings, SecretError> {
        let (value, file) = (self.replication_password.clone(), self.replication_password_file.clone());
        let password = Secret::resolve(value, file, "TANDEM_REPLICATION_PASSWORD")?;
        Ok(self.primary.database_settings(&self.replication_user, password, "tandem-query-slots"))
    }
}
