//! The two services as programs: which package, where the binary is, and the environment it is given.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::cargo;
use crate::places::{build_directory, workspace_root};
use crate::postgres::{ADMIN_ROLE, DATABASE, Login, Pair, ReplicaNumber};

/// One of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `tandem-command`, which writes to the primary.
    Command,
    /// `tandem-query`, which reads from the replica.
    Query,
}

impl Service {
    /// Both, in the order in which they migrate and start.
    pub const BOTH: [Service; 2] = [Service::Command, Service::Query];

    /// Package and binary.
    pub fn binary(self) -> &'static str {
        match self {
            Service::Command => "tandem-command",
            Service::Query => "tandem-query",
        }
    }

    /// `command` or `query`: its directory below `services`.
    pub fn short_name(self) -> &'static str {
        match self {
            Service::Command => "command",
            Service::Query => "query",
        }
    }

    /// Its crate.
    pub fn directory(self) -> PathBuf {
        workspace_root().join("services").join(self.short_name())
    }
}

/// One service as it runs: there is a query service for each replica. A [`Service`] alone stands for the one of the
/// first replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instance {
    /// The command service.
    Command,
    /// The query service of one replica.
    Query(ReplicaNumber),
}

impl Instance {
    /// Every one that there can be.
    pub fn all() -> impl Iterator<Item = Instance> {
        std::iter::once(Instance::Command).chain(ReplicaNumber::all().map(Instance::Query))
    }

    /// What it runs.
    pub fn service(self) -> Service {
        match self {
            Instance::Command => Service::Command,
            Instance::Query(_) => Service::Query,
        }
    }

    /// `command`, `query`, `query-2`, …: its log, its process id.
    pub fn short_name(self) -> &'static str {
        match self {
            Instance::Command => Service::Command.short_name(),
            Instance::Query(number) => number.query_service(),
        }
    }

    /// For messages: the binary, and of which replica where that is not the first.
    pub fn label(self) -> String {
        match self {
            Instance::Query(number) if number != ReplicaNumber::FIRST => {
                format!("{} of {}", self.service().binary(), number.name())
            }
            Instance::Command | Instance::Query(_) => self.service().binary().to_owned(),
        }
    }
}

impl From<Service> for Instance {
    fn from(service: Service) -> Instance {
        match service {
            Service::Command => Instance::Command,
            Service::Query => Instance::Query(ReplicaNumber::FIRST),
        }
    }
}

/// The program beside the services that proves both sides equal.
const VERIFIER: &str = "tandem-verify";

/// The operator's program, which sees both sides as their administrator.
const MIGRATOR: &str = "tandem-migrate";

/// Where the services' binaries are.
#[derive(Debug, Clone)]
pub struct Binaries {
    directory: PathBuf,
}

/// Names the directory of binaries that are built already: `cargo xtask test` sets it for its tests.
pub const BINARIES_VARIABLE: &str = "TANDEM_BIN_DIR";

impl Binaries {
    /// Has cargo build both services, the verifier and the migrator; what it says goes to standard error, all of it on a terminal and
    /// errors alone elsewhere. Dropping the future ends cargo.
    pub async fn build(release: bool) -> anyhow::Result<Binaries> {
        let mut command = tokio::process::Command::from(cargo::command());
        // The whole workspace chooses the features of dependencies, as in `cargo build`: with others, sqlx
        // and what stands on it would be built once more.
        command.args(["build", "--workspace"]);
        command.current_dir(workspace_root()).env("SQLX_OFFLINE", "true").kill_on_drop(true);
        for service in Service::BOTH {
            command.args(["--bin", service.binary()]);
        }
        command.args(["--bin", VERIFIER, "--bin", MIGRATOR]);
        if !io::stderr().is_terminal() {
            command.arg("--quiet");
        }
        if release {
            command.arg("--release");
        }
        let status = command.status().await.context("cargo can't be run: is it on the PATH?")?;
        ensure!(status.success(), "the services do not build; cargo's messages are above");
        Ok(Binaries { directory: build_directory()?.join(if release { "release" } else { "debug" }) })
    }

    /// Those that `TANDEM_BIN_DIR` names, else builds them.
    pub async fn from_environment() -> anyhow::Result<Binaries> {
        match env::var_os(BINARIES_VARIABLE) {
            Some(directory) => Ok(Binaries { directory: directory.into() }),
            None => Binaries::build(false).await,
        }
    }

    /// Those in a directory, built before.
    pub fn built(directory: PathBuf) -> Binaries {
        Binaries { directory }
    }

    /// Their directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The verifier's binary.
    pub fn verifier(&self) -> PathBuf {
        self.directory.join(VERIFIER)
    }

    /// The binary that changes shapes and promotes.
    pub fn migrator(&self) -> PathBuf {
        self.directory.join(MIGRATOR)
    }

    /// One service's binary.
    pub fn path(&self, service: Service) -> PathBuf {
        self.directory.join(service.binary())
    }
}

/// Names and values of environment variables.
pub type Environment = Vec<(&'static str, OsString)>;

/// What `migrate` of a service needs: the admin role of its side and the passwords that it sets.
pub fn migrate_environment(pair: &Pair, instance: Instance) -> Environment {
    let file = |login| pair.passwords().file(login).into_os_string();
    let mut environment = places_of(pair, instance);
    match instance.service() {
        Service::Command => environment.extend([
            ("TANDEM_PRIMARY_ADMIN_USER", ADMIN_ROLE.into()),
            ("TANDEM_PRIMARY_ADMIN_PASSWORD_FILE", file(Login::PrimaryAdmin)),
            ("TANDEM_PRIMARY_USER", Login::Command.role().into()),
            ("TANDEM_PRIMARY_PASSWORD_FILE", file(Login::Command)),
            ("TANDEM_REPLICATION_USER", Login::Replication.role().into()),
            ("TANDEM_REPLICATION_PASSWORD_FILE", file(Login::Replication)),
            ("TANDEM_MONITOR_USER", Login::Monitor.role().into()),
            ("TANDEM_MONITOR_PASSWORD_FILE", file(Login::Monitor)),
        ]),
        Service::Query => environment.extend([
            ("TANDEM_REPLICA_ADMIN_USER", ADMIN_ROLE.into()),
            ("TANDEM_REPLICA_ADMIN_PASSWORD_FILE", file(Login::ReplicaAdmin)),
            ("TANDEM_REPLICA_USER", Login::Query.role().into()),
            ("TANDEM_REPLICA_PASSWORD_FILE", file(Login::Query)),
            ("TANDEM_REPLICATION_USER", Login::Replication.role().into()),
            ("TANDEM_REPLICATION_PASSWORD_FILE", file(Login::Replication)),
        ]),
    }
    environment
}

/// What `serve` of a service needs. The query service gets nothing that can write to the primary.
pub fn serve_environment(pair: &Pair, instance: Instance, listen: SocketAddr, metrics: SocketAddr) -> Environment {
    let file = |login| pair.passwords().file(login).into_os_string();
    let address = |address: SocketAddr| OsString::from(address.to_string());
    let mut environment = places_of(pair, instance);
    match instance.service() {
        Service::Command => environment.extend([
            ("TANDEM_PRIMARY_USER", Login::Command.role().into()),
            ("TANDEM_PRIMARY_PASSWORD_FILE", file(Login::Command)),
            ("TANDEM_COMMAND_LISTEN", address(listen)),
            ("TANDEM_COMMAND_METRICS_LISTEN", address(metrics)),
        ]),
        Service::Query => environment.extend([
            ("TANDEM_REPLICA_USER", Login::Query.role().into()),
            ("TANDEM_REPLICA_PASSWORD_FILE", file(Login::Query)),
            ("TANDEM_MONITOR_USER", Login::Monitor.role().into()),
            ("TANDEM_MONITOR_PASSWORD_FILE", file(Login::Monitor)),
            ("TANDEM_QUERY_LISTEN", address(listen)),
            ("TANDEM_QUERY_METRICS_LISTEN", address(metrics)),
            ("TANDEM_KNOWN_SLOTS", slots_of(pair).into()),
        ]),
    }
    environment
}

/// Names of every replica's slot, by commas.
fn slots_of(pair: &Pair) -> String {
    pair.replicas().map(|(number, _)| number.subscription()).collect::<Vec<_>>().join(",")
}

/// Takes the caller's own connection settings out of a command's environment and puts these in.
pub fn give_environment(command: &mut Command, environment: &Environment) {
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        let names_a_connection = ["TANDEM_PRIMARY_", "TANDEM_REPLICA_", "TANDEM_MONITOR_", "TANDEM_REPLICATION_"]
            .iter()
            .any(|prefix| name_text.starts_with(prefix));
        if names_a_connection && name_text != "TANDEM_REPLICA_NAME" {
            command.env_remove(&name);
        }
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
}

/// Where both databases are; and of further replicas, the names that only one may have. The first goes by the defaults,
/// or by what the caller's own environment says.
fn places_of(pair: &Pair, instance: Instance) -> Environment {
    let number = match instance {
        Instance::Command => ReplicaNumber::FIRST,
        Instance::Query(number) => number,
    };
    let mut places = vec![
        ("TANDEM_PRIMARY_HOST", "127.0.0.1".into()),
        ("TANDEM_PRIMARY_PORT", pair.primary().port().to_string().into()),
        ("TANDEM_PRIMARY_DATABASE", DATABASE.into()),
        ("TANDEM_REPLICA_HOST", "127.0.0.1".into()),
        ("TANDEM_REPLICA_PORT", pair.replica_of(number).port().to_string().into()),
        ("TANDEM_REPLICA_DATABASE", DATABASE.into()),
    ];
    if number != ReplicaNumber::FIRST {
        places.push(("TANDEM_SUBSCRIPTION", number.subscription().into()));
        places.push(("TANDEM_REPLICA_NAME", number.name().into()));
    }
    places
}
