//! `cargo xtask status`: what runs, and how far the replica is.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use crate::places::RunDirectory;
use crate::postgres::postmaster;
use crate::running::{PostgresState, RunState, RunStateError, SideState, UpLock, alive, health};
use crate::service::Service;
use crate::terminal::{self, counted};

/// Exit code when the pair, or a part of it, does not run: what service managers use for it.
const NOT_RUNNING: u8 = 3;

/// How long the databases may take to answer before the replication counts as unknown.
const REPLICATION_LIMIT: Duration = Duration::from_secs(5);

/// How `status` is called.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 when both servers and both services run, 3 when any of them does not.\n\n\
    --output json holds the superusers' passwords, in primary.admin_url and replica.admin_url: keep it out of logs.")]
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
    replica: ServerStatus,
    command: ServiceStatus,
    query: ServiceStatus,
    replication: Option<ReplicationStatus>,
    /// Why there is no `replication`.
    replication_unknown: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct ServerStatus {
    running: bool,
    pid: Option<i32>,
    port: Option<u16>,
    admin_url: Option<String>,
    data_directory: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize)]
struct ServiceStatus {
    running: bool,
    pid: Option<i32>,
    address: Option<String>,
    health: Option<&'static str>,
}

/// What both databases say of the subscription.
#[derive(Debug, Serialize)]
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
}

/// One subscribed table.
#[derive(Debug, Serialize, sqlx::FromRow)]
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
            replica: ServerStatus::default(),
            command: ServiceStatus::default(),
            query: ServiceStatus::default(),
            replication: None,
            replication_unknown: None,
        };
    };
    let (command, query, replication) = tokio::join!(
        service(directory, Service::Command, &state.command_address),
        service(directory, Service::Query, &state.query_address),
        replication(&state),
    );
    let (replication, replication_unknown) = match replication {
        Ok(replication) => (Some(replication), None),
        Err(why) => (None, Some(why)),
    };
    Status {
        running: state.runs(directory),
        primary: server(&state.primary),
        replica: server(&state.replica),
        postgres: Some(state.postgres),
        command,
        query,
        replication,
        replication_unknown,
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

async fn service(directory: &RunDirectory, service: Service, address: &str) -> ServiceStatus {
    let pid = alive(directory, service);
    ServiceStatus {
        running: pid.is_some(),
        pid: pid.map(|pid| pid.as_raw_pid()),
        address: Some(address.to_owned()),
        health: Some(health(address).await),
    }
}

/// What both sides say, or which one says nothing.
async fn replication(state: &RunState) -> Result<ReplicationStatus, String> {
    let down = |side: &SideState| postmaster(&side.data_directory).is_none();
    match (down(&state.primary), down(&state.replica)) {
        (true, true) => return Err("both databases are down".to_owned()),
        (true, false) => return Err("the primary is down".to_owned()),
        (false, true) => return Err("the replica is down".to_owned()),
        (false, false) => {}
    }
    match tokio::time::timeout(REPLICATION_LIMIT, ask_both(state)).await {
        Ok(Ok(Some(replication))) => Ok(replication),
        Ok(Ok(None)) => Err("the replica has no subscription".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", REPLICATION_LIMIT.as_secs())),
    }
}

async fn ask_both(state: &RunState) -> Result<Option<ReplicationStatus>, sqlx::Error> {
    let mut replica = connect(&state.replica).await?;
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
    let mut primary = connect(&state.primary).await?;
    let position: Option<(bool, Option<String>, Option<i64>)> = sqlx::query_as(
        "select active, wal_status, (pg_current_wal_insert_lsn() - confirmed_flush_lsn)::bigint \
         from pg_catalog.pg_replication_slots where slot_name = $1",
    )
    .bind(&slot)
    .fetch_optional(&mut primary)
    .await?;
    let (slot_active, wal_status, lag_bytes) = position.unwrap_or_default();
    Ok(Some(ReplicationStatus { subscription, enabled, tables, slot, slot_active, wal_status, lag_bytes }))
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
        for (name, server) in [("primary", &self.primary), ("replica", &self.replica)] {
            let port = server.port.map_or_else(String::new, |port| format!("127.0.0.1:{port}"));
            writeln!(out, "{name:<9}{:<9}{port:<17}{}", word(server.running), process(server.pid))?;
        }
        for (name, service) in [("command", &self.command), ("query", &self.query)] {
            let address = service.address.as_deref().unwrap_or_default();
            let health = service.health.unwrap_or_default();
            writeln!(out, "{name:<9}{:<9}{address:<17}{health}{}", word(service.running), process(service.pid))?;
        }
        match &self.replication {
            Some(replication) => write!(out, "{replication}"),
            None => write!(out, "replication unknown: {}", self.replication_unknown.as_deref().unwrap_or_default()),
        }
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
        Ok(())
    }
}

fn word(running: bool) -> &'static str {
    if running { "running" } else { "down" }
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!("  (process {pid})"))
}
