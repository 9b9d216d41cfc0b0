//! What became of the commands of one load.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::latencies::Latencies;
use super::super::usage::Usage;

/// Kinds of faults that are told apart: the first already voids the run, the others help to find out why.
const MAX_KINDS: usize = 10;

/// What became of the commands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Sales that the other side says are committed; each has a request id of its own.
    pub acknowledged: u64,
    /// Their items, where they are not those of the sale that all callers send.
    pub items: Option<u64>,
    /// Commands that only the database could refuse, and that came back as an error.
    pub refused: u64,
    /// What should not have happened, and how often.
    pub faults: BTreeMap<String, u64>,
    /// From the first command sent to the last answer.
    pub seconds: f64,
    /// Of the acknowledged sales.
    pub latencies: Latencies,
    /// What the process that sent them has used.
    pub usage: Option<Usage>,
}

impl Tally {
    /// Acknowledged sales a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.acknowledged as f64 / self.seconds } else { 0.0 }
    }

    /// Rows, headers and items, a second; `None` where the items are not told.
    pub fn row_rate(&self) -> Option<f64> {
        let rows = self.acknowledged + self.items?;
        (self.seconds > 0.0).then(|| rows as f64 / self.seconds)
    }

    /// One more sale is in.
    pub fn acknowledge(&mut self, took: Duration) {
        self.acknowledged += 1;
        self.latencies.record(took);
    }

    /// One more thing that should not have happened.
    pub fn fault(&mut self, what: String) {
        let known = self.faults.contains_key(&what) || self.faults.len() < MAX_KINDS;
        *self.faults.entry(if known { what } else { "others".to_owned() }).or_default() += 1;
    }

    /// Adds what a thread beside this one did.
    pub fn add_beside(&mut self, other: Tally) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.seconds = self.seconds.max(other.seconds);
        self.latencies.add(&other.latencies);
        for (what, times) in other.faults {
            *self.faults.entry(what).or_default() += times;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_beside_each_other_add_their_sales_and_not_their_seconds() {
        let mut tally = Tally { acknowledged: 10, seconds: 2.0, ..Tally::default() };
        tally.add_beside(Tally { acknowledged: 30, seconds: 1.5, ..Tally::default() });
        assert_eq!((tally.acknowledged, tally.seconds, tally.rate()), (40, 2.0, 20.0));
    }

    #[test]
    fn faults_without_end_stay_few_kinds_and_are_all_counted() {
        let mut tally = Tally::default();
        (0..100).for_each(|number| tally.fault(format!("kind {number}")));
        assert_eq!(tally.faults.len(), MAX_KINDS + 1);
        assert_eq!(tally.faults.values().sum::<u64>(), 100);
    }
}
