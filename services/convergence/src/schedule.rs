//! Checks again and again: what `tandem-verify --every` does.

use std::time::Duration;

use tandem_chassis::shutdown::Shutdown;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::check::check;
use crate::error::CheckError;
use crate::figures::Figures;
use crate::options::Options;
use crate::report::{Report, TableReport};

/// Keys of each table that a line of the log names; `verify` lists them all.
const NAMED: usize = 20;

/// What is compared, and how often.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The primary, as [`check`](crate::check()) takes it.
    pub primary_url: String,
    /// The replica.
    pub replica_url: String,
    /// What each round compares, and how.
    pub options: Options,
    /// From the beginning of a round to that of the next; a round that takes longer is followed at once.
    pub every: Duration,
}

impl Schedule {
    /// Checks until `stop` is triggered, which ends a round under way and takes its slot along. A round that can't check
    /// says why, and the next one tries again. `tell` is given each report.
    pub async fn run(mut self, stop: Shutdown, mut tell: impl FnMut(&Report)) {
        self.options.stop = stop.clone();
        let mut figures = Figures::begin(self.every);
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.triggered() => return,
                _ = ticks.tick() => {}
            }
            let began = Instant::now();
            match check(&self.primary_url, &self.replica_url, &self.options).await {
                Ok(report) => {
                    figures.tell(&report);
                    log(&report);
                    tell(&report);
                }
                Err(CheckError::Stopped { doing }) => {
                    tracing::info!(doing, "a check is broken off");
                    return;
                }
                Err(error) => {
                    figures.tell_failure(began.elapsed());
                    tracing::warn!(error = error.with_causes(), "could not check");
                }
            }
        }
    }
}

fn log(report: &Report) {
    let (rows, seconds, fences) = (report.rows(), report.seconds, report.fences);
    for leftover in &report.leftovers {
        tracing::warn!(slot = leftover.slot, "dropped a slot that a verifier has left");
    }
    if report.equal {
        tracing::info!(rows, seconds, fences, "both sides are equal");
        return;
    }
    for table in report.tables.iter().filter(|table| !table.differences.is_empty()) {
        let (differences, more) = (table.differences.len(), table.more_differences);
        tracing::error!(table = table.table, differences, more, rows = named(table), "rows differ");
    }
    let rollups = report.rollups.as_ref().map_or(0, |rollups| rollups.different);
    tracing::error!(rows, seconds, fences, rollups, "the sides differ");
}

/// The first rows that differ, by their keys.
fn named(table: &TableReport) -> String {
    let named = table.differences.iter().take(NAMED).map(|one| format!("{} {}", one.kind, one.key));
    named.collect::<Vec<_>>().join(", ")
}
