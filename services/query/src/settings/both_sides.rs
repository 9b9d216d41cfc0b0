//! Settings of those who work on a replica with an eye on its primary.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};
use secrecy::SecretString;
use tandem_chassis::{
    migration,
    settings::{DatabaseSettings, LogSettings, Secret, SecretError, SslMode},
};
use tandem_replication::SUBSCRIPTION;
use tandem_upkeep::{Addresses, HealArgs, RebuildArgs, ResyncArgs};

use super::{ONE, Primary, QueryPassword, Replica};
use crate::store::Upstream;

/// The replica, as an administrator; and the primary, as the role that replicates.
#[derive(Clone, Debug, Args)]
pub struct BothSides {
    /// The replica.
    #[command(flatten)]
    pub replica: Replica,
    /// A superuser of the replica: PostgreSQL asks for one to create a subscription.
    #[arg(long, env = "TANDEM_REPLICA_ADMIN_USER", default_value = "postgres")]
    pub admin_user: String,
    /// The password of that role.
    #[arg(long, env = "TANDEM_REPLICA_ADMIN_PASSWORD", hide_env_values = true)]
    pub admin_password: Option<SecretString>,
    /// A file with that password.
    #[arg(long, env = "TANDEM_REPLICA_ADMIN_PASSWORD_FILE")]
    pub admin_password_file: Option<PathBuf>,
    /// Subscription and slot; no two replicas of a primary may share a name.
    #[arg(long, env = "TANDEM_SUBSCRIPTION", default_value = SUBSCRIPTION)]
    pub subscription: String,
    /// The primary, as the replica's server reaches it.
    #[command(flatten)]
    pub primary: Primary,
    /// The role that the subscription connects as.
    #[arg(long, env = "TANDEM_REPLICATION_USER", default_value = "tandem_replication")]
    pub replication_user: String,
    /// The password of that role.
    #[arg(long, env = "TANDEM_REPLICATION_PASSWORD", hide_env_values = true)]
    pub replication_password: Option<SecretString>,
    /// A file with that password.
    #[arg(long, env = "TANDEM_REPLICATION_PASSWORD_FILE")]
    pub replication_password_file: Option<PathBuf>,
}

/// Settings of `migrate`.
#[derive(Clone, Debug, Args)]
pub struct MigrateSettings {
    /// Both databases.
    #[command(flatten)]
    pub sides: BothSides,
    /// The password that tandem_query gets; not given: it keeps the one it has.
    #[command(flatten)]
    pub password: QueryPassword,
    /// Uses a slot of the subscription's name that another replica has left on the primary. Only when that replica is gone
    /// for good: two replicas that share a slot lose changes.
    #[arg(long, env = "TANDEM_TAKE_OVER_SLOT", value_parser = BoolishValueParser::new())]
    pub take_over_slot: bool,
    /// Logs.
    #[command(flatten)]
    pub log: LogSettings,
}

/// Settings of `heal`.
#[derive(Clone, Debug, Args)]
pub struct HealSettings {
    /// Both databases.
    #[command(flatten)]
    pub sides: BothSides,
    /// What to do.
    #[command(flatten)]
    pub heal: HealArgs,
}

/// Settings of `resync`.
#[derive(Clone, Debug, Args)]
pub struct ResyncSettings {
    /// Both databases.
    #[command(flatten)]
    pub sides: BothSides,
    /// What to do.
    #[command(flatten)]
    pub resync: ResyncArgs,
}

/// Settings of `rebuild-replica`.
#[derive(Clone, Debug, Args)]
pub struct RebuildReplicaSettings {
    /// Both databases.
    #[command(flatten)]
    pub sides: BothSides,
    /// What to do.
    #[command(flatten)]
    pub rebuild: RebuildArgs,
}

impl MigrateSettings {
    /// The password that `tandem_query` gets, if any.
    pub fn query_password(&self) -> Result<Option<SecretString>, SecretError> {
        let QueryPassword { value, file } = self.password.clone();
        Secret::resolve_optional(value, file, "TANDEM_REPLICA_PASSWORD")
    }
}

impl BothSides {
    /// Both as the ways to heal a replica take them.
    pub fn addresses(&self) -> Result<Addresses, SecretError> {
        Ok(Addresses {
            primary_url: migration::url(&self.upstream_database()?),
            replica_url: migration::url(&self.admin()?),
            subscription: self.subscription.clone(),
        })
    }

    /// The replica, as a superuser.
    pub fn admin(&self) -> Result<DatabaseSettings, SecretError> {
        let (value, file) = (self.admin_password.clone(), self.admin_password_file.clone());
        let password = Secret::resolve(value, file, "TANDEM_REPLICA_ADMIN_PASSWORD")?;
        Ok(self.replica.database_settings(&self.admin_user, password, ONE, "tandem-query-migrate"))
    }

    /// The primary, as the role that the subscription connects as.
    pub fn upstream_database(&self) -> Result<DatabaseSettings, SecretError> {
        let password = self.replication_password()?;
        Ok(self.primary.database_settings(&self.replication_user, password, "tandem-query-migrate"))
    }

    /// The primary, as the subscription is told of it.
    pub fn upstream(&self) -> Result<Upstream, SecretError> {
        let primary = &self.primary;
        Ok(Upstream {
            host: primary.primary_host.clone(),
            port: primary.primary_port,
            database: primary.primary_database.clone(),
            user: self.replication_user.clone(),
            password: self.replication_password()?,
            ssl_mode: match primary.primary_ssl_mode {
                SslMode::Disable => "disable",
                SslMode::Allow => "allow",
                SslMode::Prefer => "prefer",
                SslMode::Require => "require",
                SslMode::VerifyCa => "verify-ca",
                SslMode::VerifyFull => "verify-full",
            },
            ssl_root_cert: primary.primary_ssl_root_cert.as_ref().map(|file| file.display().to_string()),
        })
    }

    fn replication_password(&self) -> Result<SecretString, SecretError> {
        let (value, file) = (self.replication_password.clone(), self.replication_password_file.clone());
        Secret::resolve(value, file, "TANDEM_REPLICATION_PASSWORD")
    }
}
