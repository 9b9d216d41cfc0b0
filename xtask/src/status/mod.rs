//! `cargo xtask status`: what runs, and how far the replica is.

mod apply_log;
mod replication;
mod text;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use futures::future::join_all;
use serde::Serialize;

use self::replication::{Replicas, ReplicationStatus};
use crate::places::RunDirectory;
use crate::postgres::{ReplicaNumber, postmaster};
use crate::running::{PostgresState, RunState, RunStateError, SideState, UpLock, alive, health};
use crate::service::Instance;
use crate::terminal;

/// Exit code when the pair, or a part of it, does not run: what service managers use for it.
const NOT_RUNNING: u8 = 3;

/// Exit code when all runs, and a replica is in a state that does not pass by itself.
const TROUBLE: u8 = 1;

/// How `status` is called.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 when every server and every service runs and replication is well, 1 when a replica is \
    unsubscribed, lost, disabled, failing, disconnected, stuck, endangered or drifted (or nothing is known of it), 3 when \
    any server or service does not run.\n\n\
    A replica that is behind is looked at until it has moved or has stood still for ten seconds: one that is idle is \
    healthy, one that is stuck is not.\n\n\
    --output json lists every replica in replicas, each with its name, server, query service and replication; replica, \
    query and replication are those of the first. It holds the superusers' passwords, in each admin_url: keep it out of \
    logs."
)]
pub struct Args {
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Look again and again until Ctrl-C: redraws a terminal, and writes a line for each replica elsewhere; as JSON, one
    /// object a line.
    #[arg(long)]
    watch: bool,
    /// Seconds between looks of --watch.
    #[arg(long, default_value_t = 2, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    interval: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Everything that `status` tells.
#[derive(Debug, Serialize)]
struct Status {
    running: bool,
    postgres: Option<PostgresState>,
    primary: ServerStatus,
    command: ServiceStatus,
    /// The first replica, where it stood when there was no other.
    #[serde(flatten)]
    first: ReplicaPart,
    /// Every replica, the first one first.
    replicas: Vec<NamedReplica>,
}

/// A replica under the name that its answers carry.
#[derive(Debug, Clone, Serialize)]
struct NamedReplica {
    name: String,
    #[serde(skip)]
    number: ReplicaNumber,
    #[serde(flatten)]
    part: ReplicaPart,
}

/// One replica and what feeds and serves it.
#[derive(Debug, Clone, Default, Serialize)]
struct ReplicaPart {
    #[serde(rename = "replica")]
    server: ServerStatus,
    query: ServiceStatus,
    replication: Option<ReplicationStatus>,
    /// Why there is no `replication`.
    replication_unknown: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct ServerStatus {
    running: bool,
    pid: Option<i32>,
    port: Option<u16>,
    admin_url: Option<String>,
    data_directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct ServiceStatus {
    running: bool,
    pid: Option<i32>,
    address: Option<String>,
    health: Option<&'static str>,
}

/// Looks, and tells.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let directory = RunDirectory::open()?;
    let mut replicas = Replicas::default();
    if args.watch {
        return watch::run(&directory, &mut replicas, args.output, Duration::from_secs(args.interval)).await;
    }
    let status = look(&directory, &mut replicas, true).await?;
    match args.output {
        Output::Text => {
            terminal::result(&status);
            if let Some(step) = next_step(&directory, &status)? {
                terminal::note(&step);
            }
        }
        Output::Json => terminal::result(serde_json::to_string_pretty(&status)?),
    }
    Ok(status.exit_code())
}

impl Status {
    fn exit_code(&self) -> ExitCode {
        let is_well = |replica: &NamedReplica| {
            replica.part.replication.as_ref().is_some_and(|replication| !replication.verdict.state.is_trouble())
        };
        match (self.running, self.replicas.iter().all(is_well)) {
            (false, _) => ExitCode::from(NOT_RUNNING),
            (true, false) => ExitCode::from(TROUBLE),
            (true, true) => ExitCode::SUCCESS,
        }
    }
}

/// What to do about a pair that does not run as a whole.
fn next_step(directory: &RunDirectory, status: &Status) -> anyhow::Result<Option<String>> {
    if status.running {
        return Ok(None);
    }
    if let Some(pid) = UpLock::holder(&directory.lock_file())? {
        return Ok(Some(format!("`cargo xtask up` (process {}) is at work on it", pid.as_raw_pid())));
    }
    let what = if status.postgres.is_some() { "starts what is down" } else { "starts one" };
    Ok(Some(format!("`cargo xtask up` {what}")))
}

/// Looks once; with `patience`, until it is known of each replica whether it moves.
async fn look(directory: &RunDirectory, replicas: &mut Replicas, patience: bool) -> anyhow::Result<Status> {
    let state = match RunState::load_from(&directory.state_file()) {
        Ok(state) => state,
        Err(RunStateError::NotRunning) => return Ok(Status::of_nothing()),
        Err(error) => return Err(error.into()),
    };
    let found = state.replicas();
    let services = join_all(found.iter().map(|found| {
        let instance = Instance::Query(found.number);
        service(directory, instance, &found.query_address)
    }));
    let (command, services, replication) = tokio::join!(
        service(directory, Instance::Command, &state.command_address),
        services,
        replicas.look(&state.primary, &found, patience)
    );
    let named = found.iter().zip(services).zip(replication).map(|((found, query), replication)| {
        let (replication, replication_unknown) = match replication {
            Ok(replication) => (Some(replication), None),
            Err(why) => (None, Some(why)),
        };
        let part = ReplicaPart { server: server(&found.server), query, replication, replication_unknown };
        NamedReplica { name: found.number.name(), number: found.number, part }
    });
    let named: Vec<NamedReplica> = named.collect();
    Ok(Status {
        running: state.runs(directory),
        primary: server(&state.primary),
        postgres: Some(state.postgres),
        command,
        first: named.first().map(|first| first.part.clone()).unwrap_or_default(),
        replicas: named,
    })
}

impl Status {
    fn of_nothing() -> Self {
        Self {
            running: false,
            postgres: None,
            primary: ServerStatus::default(),
            command: ServiceStatus::default(),
            first: ReplicaPart::default(),
            replicas: Vec::new(),
        }
    }
}

fn server(side: &SideState) -> ServerStatus {
    let pid = postmaster(&side.data_directory);
    ServerStatus {
        running: pid.is_some(),
        pid: pid.map(|pid| pid.as_raw_pid()),
        port: Some(side.port),
        admin_url: Some(side.admin_url.clone()),
        data_directory: Some(side.data_directory.clone()),
    }
}

async fn service(directory: &RunDirectory, instance: Instance, address: &str) -> ServiceStatus {
    let pid = alive(directory, instance);
    ServiceStatus {
        running: pid.is_some(),
        pid: pid.map(|pid| pid.as_raw_pid()),
        address: Some(address.to_owned()),
        health: Some(health(address).await),
    }
}
