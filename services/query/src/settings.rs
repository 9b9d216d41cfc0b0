//! Settings of the query service, from flags or the environment. `tandem-query help` lists them too.
//!
//! | variable | default | meaning |
//! | --- | --- | --- |
//! | `TANDEM_REPLICA_HOST` | `127.0.0.1` | the replica |
//! | `TANDEM_REPLICA_PORT` | `5677` | |
//! | `TANDEM_REPLICA_DATABASE` | `tandem` | |
//! | `TANDEM_REPLICA_SSLMODE` | `prefer` | `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full` |
//! | `TANDEM_REPLICA_SSLROOTCERT` | none | PEM file of trusted authorities |
//! | `TANDEM_REPLICA_USER` | `tandem_query` | serve: who reads sales |
//! | `TANDEM_REPLICA_PASSWORD`, `…_PASSWORD_FILE` | none | its password; migrate sets it |
//! | `TANDEM_REPLICA_MAX_CONNECTIONS` | `10` | serve: connections of the pool |
//! | `TANDEM_REPLICA_NAME` | `replica-1` | serve: the name that answers carry |
//! | `TANDEM_REPLICA_ADMIN_USER` | `postgres` | migrate: a superuser of the replica |
//! | `TANDEM_REPLICA_ADMIN_PASSWORD`, `…_PASSWORD_FILE` | none | its password |
//! | `TANDEM_MAX_HEALTHY_STALENESS` | `30s` | serve: staler, and health says so of `SalesQueryService`; `off`: never |
//! | `TANDEM_SUBSCRIPTION` | `tandem_subscription` | subscription and slot; one name a replica |
//! | `TANDEM_TAKE_OVER_SLOT` | `false` | migrate: use a slot that another replica has left on the primary |
//! | `TANDEM_PRIMARY_HOST`, `_PORT`, `_DATABASE`, `_SSLMODE`, `_SSLROOTCERT` | as for the command service | the primary |
//! | `TANDEM_REPLICATION_USER` | `tandem_replication` | migrate: the role that the subscription connects as |
//! | `TANDEM_REPLICATION_PASSWORD`, `…_PASSWORD_FILE` | none | its password |
//! | `TANDEM_MONITOR_USER` | `tandem_monitor` | serve: reads positions and slots of the primary |
//! | `TANDEM_MONITOR_PASSWORD`, `…_PASSWORD_FILE` | none | its password; without it the primary is not asked |
//! | `TANDEM_QUERY_LISTEN` | `127.0.0.1:50052` | serve: gRPC |
//! | `TANDEM_QUERY_METRICS_LISTEN` | `127.0.0.1:9465` | serve: Prometheus metrics |
//! | `TANDEM_WATCH_RETENTION` | `1h` | serve: how long a watcher that lost its stream can take it up again |
//! | `TANDEM_CURRENCY` | `USD` | the one currency |
//!
//! and those of [`tandem_chassis::settings`].

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use chrono::TimeDelta;
use clap::{Args, Parser, Subcommand, builder::BoolishValueParser};
use secrecy::SecretString;
use tandem_chassis::settings::{
    DatabaseSettings, LogSettings, Secret, SecretError, ServerSettings, SslMode, TRACES_HELP, parse_duration,
};
use tandem_proto::money::Currency;
use tandem_replication::SUBSCRIPTION;

use crate::{freshness::HealthyStaleness, store::Upstream};

/// A call waits no longer than this for a pooled connection: by then the pool is too small for the load, and the caller
/// does better to hear it.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// One administrator's connection migrates.
const ONE: NonZeroU32 = NonZeroU32::MIN;
/// The watcher asks one question at a time, and so do those who ask for replication's status: either has a connection
/// that no caller with sales to read can hold.
const OWN: NonZeroU32 = NonZeroU32::MIN;
/// One for the hub of live streams, two for streams that are resumed (`live::CATCHING_UP`), one for watched summaries,
/// one for batches that are waited for.
const LIVE_CONNECTIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
/// The primary is asked for positions, briefly and by few.
const MONITOR_CONNECTIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// The read side of Tandem: answers from a replica.
#[derive(Debug, Parser)]
#[command(name = "tandem-query", version, arg_required_else_help = true)]
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
    /// Bring the replica to this build's schema and subscribe it to the primary; safe to repeat.
    Migrate(Box<MigrateSettings>),
    /// Build the rollups anew beside the ones that queries read, and swap. Answers stay exact all the while.
    ///
    /// Nothing makes this necessary: rollups are exact at every moment. It is for who has edited them by hand, and it
    /// makes them smaller after many sales were deleted.
    RebuildRollups(Box<RebuildSettings>),
}

/// Settings of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeSettings {
    /// Address for gRPC.
    #[arg(long, env = "TANDEM_QUERY_LISTEN", default_value = "127.0.0.1:50052")]
    pub listen: SocketAddr,
    /// Address for Prometheus metrics.
    #[arg(long, env = "TANDEM_QUERY_METRICS_LISTEN", default_value = "127.0.0.1:9465")]
    pub metrics_listen: SocketAddr,
    /// The one currency of this deployment.
    #[arg(long, env = "TANDEM_CURRENCY", default_value = "USD")]
    pub currency: Currency,
    /// The name that answers carry.
    #[arg(long, env = "TANDEM_REPLICA_NAME", default_value = "replica-1")]
    pub replica_name: String,
    /// How stale the replica may be before health says NOT_SERVING for SalesQueryService: at least 3s; off: as stale as it
    /// likes. It serves again at half of it.
    #[arg(long, env = "TANDEM_MAX_HEALTHY_STALENESS", default_value = "30s")]
    pub max_healthy_staleness: HealthyStaleness,
    /// The subscription that feeds the replica.
    #[arg(long, env = "TANDEM_SUBSCRIPTION", default_value = SUBSCRIPTION)]
    pub subscription: String,
    /// The replica.
    #[command(flatten)]
    pub replica: Replica,
    /// Who reads sales.
    #[arg(long, env = "TANDEM_REPLICA_USER", default_value = "tandem_query")]
    pub user: String,
    /// The password of that role.
    #[command(flatten)]
    pub password: QueryPassword,
    /// Connections of the pool. Twice the cores of the database server is a good start.
    #[arg(long, env = "TANDEM_REPLICA_MAX_CONNECTIONS", default_value = "10")]
    pub max_connections: NonZeroU32,
    /// How long a watcher that lost its stream can take it up again: for so long deleted sales are remembered.
    #[arg(long, env = "TANDEM_WATCH_RETENTION", value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub watch_retention: Duration,
    /// The primary, which is asked for positions and slots only.
    #[command(flatten)]
    pub primary: Primary,
    /// A role that may connect to the primary, and nothing else.
    #[arg(long, env = "TANDEM_MONITOR_USER", default_value = "tandem_monitor")]
    pub monitor_user: String,
    /// The password of that role; without it the primary is not asked, and strong reads are refused.
    #[arg(long, env = "TANDEM_MONITOR_PASSWORD", hide_env_values = true)]
    pub monitor_password: Option<SecretString>,
    /// A file with that password.
    #[arg(long, env = "TANDEM_MONITOR_PASSWORD_FILE")]
    pub monitor_password_file: Option<PathBuf>,
    /// Limits every service has.
    #[command(flatten)]
    pub server: ServerSettings,
    /// Logs.
    #[command(flatten)]
    pub log: LogSettings,
}

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

/// Settings of `migrate`.
#[derive(Clone, Debug, Args)]
pub struct MigrateSettings {
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
    /// The password that tandem_query gets; not given: it keeps the one it has.
    #[command(flatten)]
    pub password: QueryPassword,
    /// Subscription and slot; no two replicas of a primary may share a name.
    #[arg(long, env = "TANDEM_SUBSCRIPTION", default_value = SUBSCRIPTION)]
    pub subscription: String,
    /// Uses a slot of the subscription's name that another replica has left on the primary. Only when that replica is gone
    /// for good: two replicas that share a slot lose changes.
    #[arg(long, env = "TANDEM_TAKE_OVER_SLOT", value_parser = BoolishValueParser::new())]
    pub take_over_slot: bool,
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
    /// Logs.
    #[command(flatten)]
    pub log: LogSettings,
}

/// Where the replica is.
#[derive(Clone, Debug, Args)]
pub struct Replica {
    /// Host of the replica.
    #[arg(long, env = "TANDEM_REPLICA_HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the replica.
    #[arg(long, env = "TANDEM_REPLICA_PORT", default_value_t = 5677)]
    pub port: u16,
    /// Name of the database.
    #[arg(long, env = "TANDEM_REPLICA_DATABASE", default_value = "tandem")]
    pub database: String,
    /// How much TLS is asked for: disable, allow, prefer, require, verify-ca or verify-full.
    #[arg(long, env = "TANDEM_REPLICA_SSLMODE", default_value = "prefer")]
    pub ssl_mode: SslMode,
    /// PEM file of the authorities that verify-ca and verify-full trust.
    #[arg(long, env = "TANDEM_REPLICA_SSLROOTCERT")]
    pub ssl_root_cert: Option<PathBuf>,
}

/// Where the primary is.
#[derive(Clone, Debug, Args)]
pub struct Primary {
    /// Host of the primary.
    #[arg(long, env = "TANDEM_PRIMARY_HOST", default_value = "127.0.0.1")]
    primary_host: String,
    /// Port of the primary.
    #[arg(long, env = "TANDEM_PRIMARY_PORT", default_value_t = 5676)]
    primary_port: u16,
    /// Name of the primary's database.
    #[arg(long, env = "TANDEM_PRIMARY_DATABASE", default_value = "tandem")]
    primary_database: String,
    /// How much TLS is asked for: disable, allow, prefer, require, verify-ca or verify-full.
    #[arg(long, env = "TANDEM_PRIMARY_SSLMODE", default_value = "prefer")]
    primary_ssl_mode: SslMode,
    /// PEM file of the authorities that verify-ca and verify-full trust; the replica's server reads it too.
    #[arg(long, env = "TANDEM_PRIMARY_SSLROOTCERT")]
    primary_ssl_root_cert: Option<PathBuf>,
}

/// The password of `tandem_query`.
#[derive(Clone, Debug, Args)]
pub struct QueryPassword {
    /// Password of tandem_query.
    #[arg(long = "password", id = "query_password", env = "TANDEM_REPLICA_PASSWORD", hide_env_values = true)]
    value: Option<SecretString>,
    /// A file with that password.
    #[arg(long = "password-file", id = "query_password_file", env = "TANDEM_REPLICA_PASSWORD_FILE")]
    file: Option<PathBuf>,
}

impl Replica {
    fn database_settings(
        &self,
        user: &str,
        password: SecretString,
        max_connections: NonZeroU32,
        name: &str,
    ) -> DatabaseSettings {
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
            application_name: name.to_owned(),
        }
    }
}

impl Primary {
    fn database_settings(&self, user: &str, password: SecretString, name: &str) -> DatabaseSettings {
        DatabaseSettings {
            host: self.primary_host.clone(),
            port: self.primary_port,
            database: self.primary_database.clone(),
            user: user.to_owned(),
            password,
            ssl_mode: self.primary_ssl_mode,
            ssl_root_cert: self.primary_ssl_root_cert.clone(),
            max_connections: MONITOR_CONNECTIONS,
            acquire_timeout: ACQUIRE_TIMEOUT,
            application_name: name.to_owned(),
        }
    }
}

impl ServeSettings {
    /// How long rows that were changed or deleted stay.
    pub fn past_kept(&self) -> TimeDelta {
        TimeDelta::from_std(self.watch_retention).unwrap_or(TimeDelta::MAX)
    }

    /// The replica, as the role that reads sales: for callers.
    pub fn database(&self) -> Result<DatabaseSettings, SecretError> {
        self.replica_as(self.max_connections, "tandem-query")
    }

    /// The same, for the watcher alone.
    pub fn watcher_database(&self) -> Result<DatabaseSettings, SecretError> {
        self.replica_as(OWN, "tandem-query-watcher")
    }

    /// The same, for those who ask how replication is doing.
    pub fn status_database(&self) -> Result<DatabaseSettings, SecretError> {
        self.replica_as(OWN, "tandem-query-status")
    }

    /// The same, for live streams: one who reads for all, and those who have missed something.
    pub fn live_database(&self) -> Result<DatabaseSettings, SecretError> {
        self.replica_as(LIVE_CONNECTIONS, "tandem-query-live")
    }

    /// The same, for folding rollups.
    pub fn folder_database(&self) -> Result<DatabaseSettings, SecretError> {
        self.replica_as(OWN, "tandem-query-folder")
    }

    fn replica_as(&self, max_connections: NonZeroU32, name: &str) -> Result<DatabaseSettings, SecretError> {
        let password = self.password.resolve()?;
        Ok(self.replica.database_settings(&self.user, password, max_connections, name))
    }

    /// The primary, as the role that may only connect; `None` where it has no password here.
    pub fn monitor(&self) -> Result<Option<DatabaseSettings>, SecretError> {
        let (value, file) = (self.monitor_password.clone(), self.monitor_password_file.clone());
        let password = Secret::resolve_optional(value, file, "TANDEM_MONITOR_PASSWORD")?;
        Ok(password
            .map(|password| self.primary.database_settings(&self.monitor_user, password, "tandem-query-monitor")))
    }
}

impl QueryPassword {
    fn resolve(&self) -> Result<SecretString, SecretError> {
        let Self { value, file } = self.clone();
        Secret::resolve(value, file, "TANDEM_REPLICA_PASSWORD")
    }
}

impl RebuildSettings {
    /// The replica, as the role that reads sales and writes rollups.
    pub fn database(&self) -> Result<DatabaseSettings, SecretError> {
        Ok(self.replica.database_settings(&self.user, self.password.resolve()?, ONE, "tandem-query-rebuild"))
    }
}

impl MigrateSettings {
    /// The replica, as a superuser.
    pub fn admin(&self) -> Result<DatabaseSettings, SecretError> {
        let (value, file) = (self.admin_password.clone(), self.admin_password_file.clone());
        let password = Secret::resolve(value, file, "TANDEM_REPLICA_ADMIN_PASSWORD")?;
        Ok(self.replica.database_settings(&self.admin_user, password, ONE, "tandem-query-migrate"))
    }

    /// The password that `tandem_query` gets, if any.
    pub fn query_password(&self) -> Result<Option<SecretString>, SecretError> {
        let QueryPassword { value, file } = self.password.clone();
        Secret::resolve_optional(value, file, "TANDEM_REPLICA_PASSWORD")
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
