//! What Prometheus is told of checks. `deploy/alerts/tandem.rules.yaml` asks for these names.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{counter, gauge};

use crate::differences::Kind;
use crate::report::{Report, TableReport};

const KINDS: [Kind; 3] = [Kind::Missing, Kind::Extra, Kind::Different];

const EQUAL: &str = "equal";
const DIFFERENT: &str = "different";
const COULD_NOT_CHECK: &str = "could_not_check";

/// The figures of a process.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Tables that something was said of.
    tables: BTreeSet<String>,
}

impl Figures {
    /// Before the first check: that there is to be one, and how often.
    pub(crate) fn begin(every: Duration) -> Self {
        gauge!("tandem_convergence_started_timestamp_seconds").set(now());
        gauge!("tandem_convergence_every_seconds").set(every.as_secs_f64());
        for outcome in [EQUAL, DIFFERENT, COULD_NOT_CHECK] {
            counter!("tandem_convergence_checks_total", "outcome" => outcome).increment(0);
        }
        Self { tables: BTreeSet::new() }
    }

    /// Tells what a check has found.
    pub(crate) fn tell(&mut self, report: &Report) {
        ended(if report.equal { EQUAL } else { DIFFERENT }, report.seconds);
        gauge!("tandem_convergence_verdict_timestamp_seconds").set(now());
        gauge!("tandem_convergence_equal").set(if report.equal { 1.0 } else { 0.0 });
        let rollups = report.rollups.as_ref().map_or(f64::NAN, |rollups| rollups.different as f64);
        gauge!("tandem_convergence_different_rollups").set(rollups);
        // Of a table that is published no more, the last figure that was would look like news.
        for table in std::mem::take(&mut self.tables) {
            if report.tables.iter().all(|known| known.table != table) {
                tell_table(&table, f64::NAN, f64::NAN, |_| f64::NAN);
            }
        }
        for TableReport { table, rows, set_aside, differences, .. } in &report.tables {
            let of = |kind| differences.iter().filter(|one| one.kind == kind).count() as f64;
            tell_table(table, *rows as f64, *set_aside as f64, of);
            self.tables.insert(table.clone());
        }
    }

    /// Tells that a check has found nothing out. What the last one found stays: it is as true as it was.
    pub(crate) fn tell_failure(&self, took: Duration) {
        ended(COULD_NOT_CHECK, took.as_secs_f64());
    }
}

fn ended(outcome: &'static str, seconds: f64) {
    counter!("tandem_convergence_checks_total", "outcome" => outcome).increment(1);
    gauge!("tandem_convergence_check_timestamp_seconds").set(now());
    gauge!("tandem_convergence_check_duration_seconds").set(seconds);
}

fn tell_table(table: &str, rows: f64, set_aside: f64, differences: impl Fn(Kind) -> f64) {
    gauge!("tandem_convergence_compared_rows", "table" => table.to_owned()).set(rows);
    gauge!("tandem_convergence_set_aside_rows", "table" => table.to_owned()).set(set_aside);
    for kind in KINDS {
        let labels = [("table", table.to_owned()), ("kind", kind.to_string())];
        gauge!("tandem_convergence_differences", &labels).set(differences(kind));
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
