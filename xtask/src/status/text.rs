//! What `status` prints for people.

use std::fmt::{self, Display};

use tandem_replication::TableState;

use super::replication::{Failure, ReplicationStatus};
use super::{NamedReplica, Status};
use crate::terminal::counted;

/// Rows in the way that are named: more, nobody reads.
const MOST_ROWS: usize = 5;
const HEALING: &str = "`cargo xtask heal` shows both rows, sets the replica's aside, and lets apply go on";

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

impl Status {
    /// One line for each replica, for logs.
    pub(super) fn lines(&self) -> Vec<String> {
        let now = chrono::Utc::now().format("%H:%M:%S");
        if self.postgres.is_none() {
            return vec![format!("{now} no pair is running here")];
        }
        let line = |replica: &NamedReplica| match &replica.part.replication {
            Some(told) => format!(
                "{now} {} {}: {}; lag {}",
                replica.name,
                told.verdict.state.as_str(),
                told.verdict.reason,
                bytes(told.lag_bytes)
            ),
            None => {
                let why = replica.part.replication_unknown.as_deref().unwrap_or_default();
                format!("{now} {} unknown: {why}", replica.name)
            }
        };
        self.replicas.iter().map(line).collect()
    }
}

impl Display for ReplicationStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}: {}", self.verdict.state.as_str(), self.verdict.reason)?;
        for note in &self.verdict.also {
            writeln!(out, "  also: {note}")?;
        }
        if let Some(failure) = &self.failure {
            write!(out, "{failure}")?;
        }
        let enabled = if self.enabled { "enabled" } else { "disabled" };
        let reader = self.active_pid.map_or_else(|| "not active".to_owned(), |pid| format!("active (process {pid})"));
        let wal = self.wal_status.as_deref().unwrap_or("no WAL held");
        writeln!(out, "{} {enabled}; slot {} {reader}, WAL {wal}", self.subscription, self.slot)?;
        let (kept, safe) = (bytes(self.retained_wal_bytes), bytes(self.safe_wal_bytes));
        writeln!(out, "WAL kept {kept}, safe for another {safe}")?;
        let seconds = |figure: Option<f64>| figure.map_or_else(|| "unknown".to_owned(), |age| format!("{age:.1} s"));
        let (behind, age) = (seconds(self.behind_seconds), seconds(self.staleness_seconds));
        writeln!(out, "lag {}; complete as of {behind} ago; newest watermark {age} old", bytes(self.lag_bytes))?;
        let ready = self.tables.iter().filter(|table| table.state == TableState::Ready).count();
        write!(out, "{ready} of {} tables ready", self.tables.len())?;
        for table in self.tables.iter().filter(|table| table.state != TableState::Ready) {
            write!(out, "; {} is {}", table.name, table.state.as_str())?;
        }
        if self.apply_errors + self.sync_errors > 0 {
            write!(out, "\n{} errors of apply and {} of copies so far", self.apply_errors, self.sync_errors)?;
        }
        for drift in &self.drifts {
            write!(out, "\ndrift: {}", drift.difference)?;
        }
        match self.rollup_backlog_sales {
            0 => write!(out, "\nrollups up to date"),
            more @ 10_001.. => write!(out, "\nrollups behind by more than {} sales", more - 1),
            sales => write!(out, "\nrollups behind by {}", counted(sales.unsigned_abs(), "sale")),
        }
    }
}

impl Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for conflict in self.in_the_way.iter().take(MOST_ROWS) {
            writeln!(out, "  in the way: {conflict}")?;
        }
        match self.in_the_way.len() {
            0 => {}
            more if more > MOST_ROWS => {
                writeln!(out, "  and {}; {HEALING}", counted((more - MOST_ROWS) as u64, "more row"))?
            }
            _ => writeln!(out, "  {HEALING}")?,
        }
        if let Some(why) = &self.not_looked {
            writeln!(out, "  rows in the way were not looked for: {why}")?;
        }
        if let Some(log) = &self.log {
            writeln!(out, "  the replica's log says:")?;
            log.lines().try_for_each(|line| writeln!(out, "    {line}"))?;
        }
        Ok(())
    }
}

fn bytes<N: TryInto<u64>>(figure: Option<N>) -> String {
    let figure = figure.map(|figure| figure.try_into().unwrap_or_default());
    figure.map_or_else(|| "unknown".to_owned(), |figure| counted(figure, "byte"))
}

fn word(running: bool) -> &'static str {
    if running { "running" } else { "down" }
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!("  (process {pid})"))
}
