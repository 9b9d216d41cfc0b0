//! Settings of the command service, from flags or the environment. `tandem-command help` lists them too.
//!
//! | variable | default | meaning |
//! | --- | --- | --- |
//! | `TANDEM_PRIMARY_HOST` | `127.0.0.1` | the primary |
//! | `TANDEM_PRIMARY_PORT` | `5676` | |
//! | `TANDEM_PRIMARY_DATABASE` | `tandem` | |
//! | `TANDEM_PRIMARY_SSLMODE` | `prefer` | `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full` |
//! | `TANDEM_PRIMARY_SSLROOTCERT` | none | PEM file of trusted authorities |
//! | `TANDEM_PRIMARY_USER` | `tandem_command` | serve: who writes sales |
//! | `TANDEM_PRIMARY_PASSWORD`, `…_PASSWORD_FILE` | none | its password; migrate sets it |
//! | `TANDEM_PRIMARY_MAX_CONNECTIONS` | `10` | serve: connections of the pool |
//! | `TANDEM_PRIMARY_ADMIN_USER` | `postgres` | migrate: a superuser of the primary |
//! | `TANDEM_PRIMARY_ADMIN_PASSWORD`, `…_PASSWORD_FILE` | none | its password |
//! | `TANDEM_REPLICATION_PASSWORD`, `…_PASSWORD_FILE` | none | migrate: password that `tandem_replication` gets |
//! | `TANDEM_MONITOR_PASSWORD`, `…_PASSWORD_FILE` | none | migrate: password that `tandem_monitor` gets |
//! | `TANDEM_COMMAND_LISTEN` | `127.0.0.1:50051` | serve: gRPC |
//! | `TANDEM_COMMAND_METRICS_LISTEN` | `127.0.0.1:9464` | serve: Prometheus metrics |
//! | `TANDEM_CURRENCY` | `USD` | the one currency |
//! | `TANDEM_LANES` | `2` | serve: lanes that commit, each with a connection of its own beside the pool |
//! | `TANDEM_LANE_BATCH` | `256` | serve: commands that one transaction commits at most |
//! | `TANDEM_LANE_QUEUE` | `1024` | serve: commands that wait for a lane at most |
//! | `TANDEM_IMPORTS` | `2` | serve: imports in progress at most, each with a connection of its own beside the pool |
//! | `TANDEM_IMPORT_IDLE` | `60s` | serve: how long an import's caller may send nothing, or take no answer |
//! | `TANDEM_REQUEST_ID_RETENTION` | `7days` | serve: how long a retry gets the first answer |
//! | `TANDEM_BATCH_RETENTION` | `90days` | serve: how long a batch that has ended can be asked for |
//! | `TANDEM_INSTANCE_NAME` | host name and port | names this service's watermark row; one name an instance |
//!
//! and those of [`tandem_chassis::settings`].

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;
use tandem_chassis::settings::{
    DatabaseSettings, LogSettings, Secret, SecretError, ServerSettings, SslMode, TRACES_HELP, parse_duration,
};
use tandem_proto::money::Currency;

use crate::{
    commit::{Kept, LaneSettings},
    import::ImportSettings,
    store::Passwords,
};

/// A call waits no longer than this for a pooled connection: by then the pool is too small for the load, and the caller
/// does better to hear it.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// One administrator's connection migrates, and housekeeping needs no more.
const ONE: NonZeroU32 = NonZeroU32::MIN;

/// The write side of Tandem: stores sales in the primary database.
#[derive(Debug, Parser)]
#[command(name = "tandem-command", version, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Answer calls until SIGTERM or Ctrl-C.
    #[command(after_help = TRACES_HELP)]
    Serve(Box<ServeSettings>),
    /// Bring the primary to this build's schema, roles and publication; safe to repeat.
    Migrate(Box<MigrateSettings>),
}

/// Settings of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeSettings {
    /// Address for gRPC.
    #[arg(long, env = "TANDEM_COMMAND_LISTEN", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,
    /// Address for Prometheus metrics.
    #[arg(long, env = "TANDEM_COMMAND_METRICS_LISTEN", default_value = "127.0.0.1:9464")]
    pub metrics_listen: SocketAddr,
    /// The one currency of this deployment.
    #[arg(long, env = "TANDEM_CURRENCY", default_value = "USD")]
    pub currency: Currency,
    /// Lanes that commit, each with a connection of its own beside the pool. New sales go to the first until so many wait
    /// for it that a second batch beside it pays.
    #[arg(long, env = "TANDEM_LANES", default_value = "2")]
    pub lanes: NonZeroUsize,
    /// Commands that one transaction commits at most.
    #[arg(long, env = "TANDEM_LANE_BATCH", default_value = "256")]
    pub lane_batch: NonZeroUsize,
    /// Commands that wait for a lane at most; one more is refused with RESOURCE_EXHAUSTED.
    #[arg(long, env = "TANDEM_LANE_QUEUE", default_value = "1024")]
    pub lane_queue: NonZeroUsize,
    /// Imports in progress at most, each with a connection of its own beside the pool; one more is refused with
    /// RESOURCE_EXHAUSTED.
    #[arg(long, env = "TANDEM_IMPORTS", default_value = "2")]
    pub imports: NonZeroUsize,
    /// How long an import's caller may send nothing, or take no answer.
    #[arg(long, env = "TANDEM_IMPORT_IDLE", value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub import_idle: Duration,
    /// How long request ids and imports are kept: a retry that comes later is a new command.
    #[arg(long, env = "TANDEM_REQUEST_ID_RETENTION", value_name = "DURATION", default_value = "7days", value_parser = parse_duration)]
    pub request_id_retention: Duration,
    /// How long batches that have ended are kept, on both sides; never shorter than an import can be resumed.
    #[arg(long, env = "TANDEM_BATCH_RETENTION", value_name = "DURATION", default_value = "90days", value_parser = parse_duration)]
    pub batch_retention: Duration,
    /// Names this service's watermark row; no two instances may share one. Default: host name and port.
    #[arg(long, env = "TANDEM_INSTANCE_NAME")]
    pub instance_name: Option<String>,
    /// The primary.
    #[command(flatten)]
    pub primary: Primary,
    /// Who writes sales.
    #[arg(long, env = "TANDEM_PRIMARY_USER", default_value = "tandem_command")]
    pub user: String,
    /// The password of that role.
    #[command(flatten)]
    pub password: CommandPassword,
    /// Connections of the pool. Twice the cores of the database server is a good start.
    #[arg(long, env = "TANDEM_PRIMARY_MAX_CONNECTIONS", default_value = "10")]
    pub max_connections: NonZeroU32,
    /// Limits every service has.
    #[command(flatten)]
    pub server: ServerSettings,
    /// Logs.
    #[command(flatten)]
    pub log: LogSettings,
}

/// Settings of `migrate`.
#[derive(Clone, Debug, Args)]
pub struct MigrateSettings {
    /// The primary.
    #[command(flatten)]
    pub primary: Primary,
    /// A superuser of the primary: PostgreSQL asks for one to create a role that may replicate.
    #[arg(long, env = "TANDEM_PRIMARY_ADMIN_USER", default_value = "postgres")]
    pub admin_user: String,
    /// The password of that role.
    #[arg(long, env = "TANDEM_PRIMARY_ADMIN_PASSWORD", hide_env_values = true)]
    pub admin_password: Option<SecretString>,
    /// A file with that password.
    #[arg(long, env = "TANDEM_PRIMARY_ADMIN_PASSWORD_FILE")]
    pub admin_password_file: Option<PathBuf>,
    /// The password that tandem_command gets; not given: it keeps the one it has.
    #[command(flatten)]
    pub command_password: CommandPassword,
    /// The password that tandem_replication gets; not given: it keeps the one it has.
    #[arg(long, env = "TANDEM_REPLICATION_PASSWORD", hide_env_values = true)]
    pub replication_password: Option<SecretString>,
    /// A file with that password.
    #[arg(long, env = "TANDEM_REPLICATION_PASSWORD_FILE")]
    pub replication_password_file: Option<PathBuf>,
    /// The password that tandem_monitor gets; not given: it keeps the one it has.
    #[arg(long, env = "TANDEM_MONITOR_PASSWORD", hide_env_values = true)]
    pub monitor_password: Option<SecretString>,
    /// A file with that password.
    #[arg(long, env = "TANDEM_MONITOR_PASSWORD_FILE")]
    pub monitor_password_file: Option<PathBuf>,
    /// Logs.
    #[command(flatten)]
    pub log: LogSettings,
}

/// Where the primary is.
#[derive(Clone, Debug, Args)]
pub struct Primary {
    /// Host of the primary.
    #[arg(long, env = "TANDEM_PRIMARY_HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the primary.
    #[arg(long, env = "TANDEM_PRIMARY_PORT", default_value_t = 5676)]
    pub port: u16,
    /// Name of the database.
    #[arg(long, env = "TANDEM_PRIMARY_DATABASE", default_value = "tandem")]
    pub database: String,
    /// How much TLS is asked for: disable, allow, prefer, require, verify-ca or verify-full.
    #[arg(long, env = "TANDEM_PRIMARY_SSLMODE", default_value = "prefer")]
    pub ssl_mode: SslMode,
    /// PEM file of the authorities that verify-ca and verify-full trust.
    #[arg(long, env = "TANDEM_PRIMARY_SSLROOTCERT")]
    pub ssl_root_cert: Option<PathBuf>,
}

/// The password of `tandem_command`.
#[derive(Clone, Debug, Args)]
pub struct CommandPassword {
    /// Password of tandem_command.
    #[arg(long = "password", id = "command_password", env = "TANDEM_PRIMARY_PASSWORD", hide_env_values = true)]
    value: Option<SecretString>,
    /// A file with that password.
    #[arg(long = "password-file", id = "command_password_file", env = "TANDEM_PRIMARY_PASSWORD_FILE")]
    file: Option<PathBuf>,
}

impl Primary {
    fn database_settings(&self, user: &str, password: SecretString, max_connections: NonZeroU32) -> DatabaseSettings {
        DatabaseSettings {
            host: self.host.clone(),
            port: self.port,
            database: self.database.clone(),
            user: user.to_owned(),
            password,
            ssl_mode: self.ssl_mode,
            ssl_root_cert: self.ssl_root_cert.clone(),
            max_connections,
            acquire_timeout: ACQUIRE_TIMEOUT,
            application_name: "tandem-command".to_owned(),
        }
    }
}

impl ServeSettings {
    /// How many lanes there are, and how much each takes.
    pub const fn lanes(&self) -> LaneSettings {
        LaneSettings { lanes: self.lanes, batch: self.lane_batch, queue: self.lane_queue }
    }

    /// How many imports there are at once, and how long one may be idle.
    pub const fn imports(&self) -> ImportSettings {
        ImportSettings { imports: self.imports, idle: self.import_idle }
    }

    /// How long things are kept.
    pub const fn kept(&self) -> Kept {
        Kept { request_ids: self.request_id_retention, batches: self.batch_retention }
    }

    /// The primary, as the role that writes sales.
    pub fn database(&self) -> Result<DatabaseSettings, SecretError> {
        let CommandPassword { value, file } = self.password.clone();
        let password = Secret::resolve(value, file, "TANDEM_PRIMARY_PASSWORD")?;
        Ok(self.primary.database_settings(&self.user, password, self.max_connections))
    }

    /// The primary, as the same role, for the heartbeat and the removal of what is old.
    pub fn housekeeping_database(&self) -> Result<DatabaseSettings, SecretError> {
        let mut settings = self.database()?;
        settings.max_connections = ONE;
        settings.application_name.push_str("-housekeeping");
        Ok(settings)
    }
}

impl MigrateSettings {
    /// The primary, as an administrator.
    pub fn database(&self) -> Result<DatabaseSettings, SecretError> {
        let (value, file) = (self.admin_password.clone(), self.admin_password_file.clone());
        let password = Secret::resolve(value, file, "TANDEM_PRIMARY_ADMIN_PASSWORD")?;
        Ok(self.primary.database_settings(&self.admin_user, password, ONE))
    }

    /// The passwords that are to be set.
    pub fn passwords(&self) -> Result<Passwords, SecretError> {
        let CommandPassword { value, file } = self.command_password.clone();
        Ok(Passwords {
            command: Secret::resolve_optional(value, file, "TANDEM_PRIMARY_PASSWORD")?,
            replication: Secret::resolve_optional(
                self.replication_password.clone(),
                self.replication_password_file.clone(),
                "TANDEM_REPLICATION_PASSWORD",
            )?,
            monitor: Secret::resolve_optional(
                self.monitor_password.clone(),
                self.monitor_password_file.clone(),
                "TANDEM_MONITOR_PASSWORD",
            )?,
        })
    }
}
