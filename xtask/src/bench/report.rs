//! What a run tells: one JSON object, or a table for people.

use std::fmt;

use serde::Serialize;

use super::machine::Machine;
use super::side::Side;
use super::statistics::{Spread, rounded};

/// What a run tells.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What it was measured on.
    pub machine: Machine,
    /// One for each row that was asked for.
    pub rows: Vec<Row>,
}

/// One thing that was measured against another.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Such as `W1`.
    pub id: &'static str,
    /// Times as fast as the peer: the median of the rounds.
    pub ratio: f64,
    /// Of the worst round.
    pub low: f64,
    /// Of the best round.
    pub high: f64,
    /// What the ratio should reach.
    pub target: f64,
    /// Whether it does.
    pub holds: bool,
    /// Both sides.
    pub detail: Detail,
}

/// Both sides of a row.
#[derive(Debug, Clone, Serialize)]
pub struct Detail {
    /// What was measured against what.
    pub work: String,
    /// Of each round.
    pub ratios: Vec<f64>,
    /// What is measured.
    pub ours: Side,
    /// What it is measured against.
    pub peer: Side,
    /// What else was measured to find the peer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_peers: Vec<Side>,
    /// The ratio when time counts until the replica has everything, where it counts until the last acknowledgement else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_equal: Option<Spread>,
    /// Ours again, at rates below the highest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open_loop: Vec<OpenLoop>,
}

/// Commands that are sent at a given rate; latencies count from when they were meant to be sent.
#[derive(Debug, Clone, Serialize)]
pub struct OpenLoop {
    /// Of the highest rate.
    pub share: f64,
    /// Commands that were meant to be sent, a second.
    pub meant_per_second: f64,
    /// What came of it.
    #[serde(flatten)]
    pub side: Side,
}

impl Row {
    /// Judges a ratio.
    pub fn new(id: &'static str, target: f64, spread: Spread, detail: Detail) -> Row {
        let [ratio, low, high] = [spread.median, spread.low, spread.high].map(|value| rounded(value, 3));
        Row { id, ratio, low, high, target, holds: spread.median >= target, detail }
    }
}

impl Report {
    /// Every load once: peers and ours, by how many work at once.
    pub fn sides(&self) -> Vec<&Side> {
        let mut sides: Vec<&Side> = Vec::new();
        for row in &self.rows {
            let detail = &row.detail;
            for side in detail.other_peers.iter().chain([&detail.peer, &detail.ours]) {
                if sides.iter().all(|known| known.load != side.load) {
                    sides.push(side);
                }
            }
        }
        sides.sort_by_key(|side| (side.is_ours, side.callers, side.refused));
        sides
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        writeln!(f, "{:3} {:60} {:>6} {:>6} {:>6}  target", "row", "work", "ratio", "low", "high")?;
        for row in &self.rows {
            let verdict = if row.holds { "holds" } else { "missed" };
            let Row { id, ratio, low, high, target, detail, .. } = row;
            writeln!(f, "{id:3} {:60} {ratio:6.2} {low:6.2} {high:6.2}  ≥ {target:.1} {verdict}", detail.work)?;
        }
        writeln!(f, "\n{:51} CPU ms a sale", "")?;
        writeln!(
            f,
            "{:34} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>7}",
            "load", "sales/s", "p50 ms", "p99 ms", "service", "load gen", "primary", "batch", "drain s"
        )?;
        for side in self.sides() {
            write_side(f, &side.load, side)?;
        }
        for open in self.rows.iter().flat_map(|row| &row.detail.open_loop) {
            write_side(f, &format!("  open loop at {:.0}% ", open.share * 100.0), &open.side)?;
        }
        Ok(())
    }
}

fn write_side(f: &mut fmt::Formatter<'_>, name: &str, side: &Side) -> fmt::Result {
    let figure =
        |value: Option<f64>, decimals: usize| value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"));
    let cpu = side.cpu_seconds_per_1000;
    let drain = side.drain_seconds.iter().copied().max_by(f64::total_cmp);
    writeln!(
        f,
        "{name:34} {:7.0} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>7}",
        side.sales_per_second,
        figure(side.p50_ms, 2),
        figure(side.p99_ms, 2),
        figure(cpu.service, 3),
        figure(cpu.generator, 3),
        figure(cpu.primary, 3),
        figure(side.batch_size.as_ref().and_then(|batch| batch.mean), 1),
        figure(drain, 2),
    )
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu_model.as_deref().unwrap_or("an unknown processor");
        write!(f, "{} cores of {cpu}", self.cores)?;
        if let Some(memory) = self.memory_bytes {
            write!(f, ", {} GB", (memory as f64 / 1e9).round())?;
        }
        if let Some(load) = self.load_before {
            write!(f, ", load {load} before")?;
        }
        let Machine { versions, commit, profile, fdatasyncs_per_second, .. } = self;
        let commit = commit.as_deref().unwrap_or("unknown");
        write!(f, "\nPostgreSQL {}, commit {commit}, {profile} builds, ", versions.postgresql)?;
        write!(f, "{fdatasyncs_per_second:.0} fdatasyncs/s")
    }
}
