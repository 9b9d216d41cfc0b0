//! `cargo xtask status`: what runs, and how far the replica is.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use futures::future::join_all;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use crate::places::RunDirectory;
use crate::postgres::{ReplicaNumber, postmaster};
use crate::running::{PostgresState, ReplicaState, RunState, RunStateError, SideState, UpLock, alive, health};
use crate::service::Instance;
use crate::terminal::{self, counted};

/// Exit code when the pair, or a part of it, does not run: what service managers use for it.
const NOT_RUNNING: u8 = 3;

/// How long the databases may take to answer before the replication counts as unknown.
const REPLICATION_LIMIT: Duration = Duration::from_secs(5);

/// How `status` is called.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 when every server and every service runs, 3 when any of them does not.\n\n\
    --output json lists every replica in replicas, each with its name, server, query service and replication; replica, \
    query and replication are those of the first. It holds the superusers' passwords, in each admin_url: keep it out of \
    logs.")]
pub struct Args {
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
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

/// What both databases say of the subscription.
#[derive(Debug, Clone, Serialize)]
struct ReplicationStatus {
    subscription: String,
    enabled: bool,
    tables: Vec<TableStatus>,
    slot: String,
    slot_active: bool,
    /// `reserved`, `extended`, `unreserved` or `lost`, as the primary says.
    wal_status: Option<String>,
    /// WAL that the primary has written and the replica has not confirmed.
    lag_bytes: Option<i64>,
    /// Sales that the rollups do not hold yet as they are; 10,001 for more than 10,000.
    rollup_backlog_sales: i64,
}

/// One subscribed table.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
struct TableStatus {
    table: String,
    /// The letter of `pg_subscription_rel.srsubstate`; `r` is ready.
    state: String,
}

/// Looks, and tells.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let directory = RunDirectory::open()?;
    let state = match RunState::load_from(&directory.state_file()) {
        Ok(state) => Some(state),
        Err(RunStateError::NotRunning) => None,
        Err(error) => return Err(error.into()),
    };
    let status = look(&directory, state).await;
    match args.output {
        Output::Text => {
            terminal::result(&status);
            if let Some(step) = next_step(&directory, &status)? {
                terminal::note(&step);
            }
        }
        Output::Json => terminal::result(serde_json::to_string_pretty(&status)?),
    }
    Ok(if status.running { ExitCode::SUCCESS } else { ExitCode::from(NOT_RUNNING) })
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

async fn look(directory: &RunDirectory, state: Option<RunState>) -> Status {
    let Some(state) = state else {
        return Status {
            running: false,
            postgres: None,
            primary: ServerStatus::default(),
            command: ServiceStatus::default(),
            first: ReplicaPart::default(),
            replicas: Vec::new(),
        };
    };
    let found = state.replicas();
    let looks = found.iter().map(|found| replica(directory, &state.primary, found));
    let (command, replicas) =
        tokio::join!(service(directory, Instance::Command, &state.command_address), join_all(looks));
    Status {
        running: state.runs(directory),
        primary: server(&state.primary),
        postgres: Some(state.postgres),
        command,
        first: replicas.first().map(|first| first.part.clone()).unwrap_or_default(),
        replicas,
    }
}

async fn replica(directory: &RunDirectory, primary: &SideState, state: &ReplicaState) -> NamedReplica {
    let number = state.number;
    let (query, replication) = tokio::join!(
        service(directory, Instance::Query(number), &state.query_address),
        replication(primary, &state.server)
    );
    let (replication, replication_unknown) = match replication {
        Ok(replication) => (Some(replication), None),
        Err(why) => (None, Some(why)),
    };
    let part = ReplicaPart { server: server(&state.server), query, replication, replication_unknown };
    NamedReplica { name: number.name(), number, part }
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

/// What both sides say, or which one says nothing.
async fn replication(primary: &SideState, replica: &SideState) -> Result<ReplicationStatus, String> {
    let down = |side: &SideState| postmaster(&side.data_directory).is_none();
    match (down(primary), down(replica)) {
        (true, true) => return Err("both databases are down".to_owned()),
        (true, false) => return Err("the primary is down".to_owned()),
        (false, true) => return Err("the replica is down".to_owned()),
        (false, false) => {}
    }
    match tokio::time::timeout(REPLICATION_LIMIT, ask_both(primary, replica)).await {
        Ok(Ok(Some(replication))) => Ok(replication),
        Ok(Ok(None)) => Err("the replica has no subscription".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", REPLICATION_LIMIT.as_secs())),
    }
}

async fn ask_both(primary: &SideState, replica: &SideState) -> Result<Option<ReplicationStatus>, sqlx::Error> {
    let mut replica = connect(replica).await?;
    let found: Option<(String, bool, String)> = sqlx::query_as(
        "select s.subname::text, s.subenabled, s.subslotname::text from pg_catalog.pg_subscription s \
         where s.subdbid = (select d.oid from pg_catalog.pg_database d where d.datname = current_database()) \
         order by s.subname limit 1",
    )
    .fetch_optional(&mut replica)
    .await?;
    let Some((subscription, enabled, slot)) = found else { return Ok(None) };
    let tables = sqlx::query_as(
        "select n.nspname || '.' || c.relname as \"table\", r.srsubstate::text as state \
         from pg_catalog.pg_subscription_rel r \
         join pg_catalog.pg_class c on c.oid = r.srrelid \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace order by 1",
    )
    .fetch_all(&mut replica)
    .await?;
    let rollup_backlog_sales = sqlx::query_scalar(
        "select cardinality(tandem.changed_sales(folded_xid, sweep_xid, sweep_id, 10001))::bigint \
         from tandem.fold where is_current",
    )
    .fetch_one(&mut replica)
    .await?;
    let mut primary = connect(primary).await?;
    let position: Option<(bool, Option<String>, Option<i64>)> = sqlx::query_as(
        "select active, wal_status, (pg_current_wal_insert_lsn() - confirmed_flush_lsn)::bigint \
         from pg_catalog.pg_replication_slots where slot_name = $1",
    )
    .bind(&slot)
    .fetch_optional(&mut primary)
    .await?;
    let (slot_active, wal_status, lag_bytes) = position.unwrap_or_default();
    Ok(Some(ReplicationStatus {
        subscription,
        enabled,
        tables,
        slot,
        slot_active,
        wal_status,
        lag_bytes,
        rollup_backlog_sales,
    }))
}

async fn connect(side: &SideState) -> Result<PgConnection, sqlx::Error> {
    side.admin_url.parse::<PgConnectOptions>()?.connect().await
}

impl Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(postgres) = &self.postgres else {
            return write!(out, "no pair is running here");
        };
        writeln!(out, "PostgreSQL {} in {}", postgres.version, postgres.bin_dir.display())?;
        let several = self.replicas.len() > 1;
        // As wide as the longest name, which "replica-2" is where there is one.
        let width = if several { 11 } else { 9 };
        let servers = self.replicas.iter().map(|replica| (replica.number.cluster(), &replica.part.server));
        for (name, server) in std::iter::once(("primary", &self.primary)).chain(servers) {
            let port = server.port.map_or_else(String::new, |port| format!("127.0.0.1:{port}"));
            writeln!(out, "{name:<width$}{:<9}{port:<17}{}", word(server.running), process(server.pid))?;
        }
        let services = self.replicas.iter().map(|replica| (replica.number.query_service(), &replica.part.query));
        for (name, service) in std::iter::once(("command", &self.command)).chain(services) {
            let address = service.address.as_deref().unwrap_or_default();
            let health = service.health.unwrap_or_default();
            writeln!(out, "{name:<width$}{:<9}{address:<17}{health}{}", word(service.running), process(service.pid))?;
        }
        for (place, NamedReplica { name, part, .. }) in self.replicas.iter().enumerate() {
            let (line, of) =
                (if place > 0 { "\n" } else { "" }, if several { format!("{name}: ") } else { String::new() });
            match &part.replication {
                Some(replication) => write!(out, "{line}{of}{replication}")?,
                None => {
                    let why = part.replication_unknown.as_deref().unwrap_or_default();
                    write!(out, "{line}{of}replication unknown: {why}")?;
                }
            }
        }
        Ok(())
    }
}

impl Display for ReplicationStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let enabled = if self.enabled { "enabled" } else { "disabled" };
        let active = if self.slot_active { "active" } else { "not active" };
        let wal = self.wal_status.as_deref().unwrap_or("no WAL held");
        let lag = self
            .lag_bytes
            .map_or_else(|| "unknown".to_owned(), |bytes| counted(u64::try_from(bytes).unwrap_or(0), "byte"));
        writeln!(out, "{} {enabled}; slot {} {active} ({wal}); lag {lag}", self.subscription, self.slot)?;
        let ready = self.tables.iter().filter(|table| table.state == "r").count();
        write!(out, "{ready} of {} tables ready", self.tables.len())?;
        for TableStatus { table, state } in self.tables.iter().filter(|table| table.state != "r") {
            write!(out, "; {table} is in state {state}")?;
        }
        match self.rollup_backlog_sales {
            0 => write!(out, "\nrollups up to date"),
            more @ 10_001.. => write!(out, "\nrollups behind by more than {} sales", more - 1),
            sales => write!(out, "\nrollups behind by {}", counted(sales.unsigned_abs(), "sale")),
        }
    }
}

fn word(running: bool) -> &'static str {
    if running { "running" } else { "down" }
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!("  (process {pid})"))
}
