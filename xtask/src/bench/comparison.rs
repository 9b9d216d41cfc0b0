//! What runs of `bench read`, `bench replication` and `bench verify` tell: one JSON object, or a table for people.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::machine::Machine;
use super::statistics::{Spread, median, rounded};
use crate::terminal;

/// In what else there is to know of a question: how the peer's database makes the answer.
pub const PLAN: &str = "plan";

/// What a run tells.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    /// What it was measured on.
    pub machine: Machine,
    /// One for each row that was asked for and could be measured.
    pub rows: Vec<Comparison>,
}

/// One thing that was measured against another.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Such as `Q1`.
    pub id: &'static str,
    /// The median of the rounds: times as fast as the peer, or times as long, as `aim` says.
    pub ratio: f64,
    /// The lowest of the rounds.
    pub low: f64,
    /// The highest of the rounds.
    pub high: f64,
    /// What the ratio should reach, or not exceed.
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
    /// Whether the target is the least or the most.
    pub aim: Aim,
    /// Of each round.
    pub ratios: Vec<f64>,
    /// What is measured.
    pub ours: Measured,
    /// What it is measured against; absent where the target is no ratio.
    pub peer: Option<Measured>,
    /// What else there is to know.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub further: BTreeMap<&'static str, Value>,
}

/// Which way a target is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// Times as fast.
    AtLeast,
    /// Times as long; seconds.
    AtMost,
}

/// One side over all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// For people.
    pub name: String,
    /// Of `median` and `rounds`: `ms`, `reads/s`, `rows/s`.
    pub unit: &'static str,
    /// Of the rounds.
    pub median: f64,
    /// Each round.
    pub rounds: Vec<f64>,
    /// Medians of the parts that a round is the sum of, in the same unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<&'static str, f64>,
    /// CPU time for a thousand calls (rows, where the unit says so), by who used it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cpu_seconds_per_1000: BTreeMap<&'static str, f64>,
    /// The most memory that was resident at once, by who had it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub peak_memory_bytes: BTreeMap<&'static str, u64>,
}

impl Measured {
    /// Of at least one round.
    pub fn new(name: impl Into<String>, unit: &'static str, rounds: &[f64]) -> Measured {
        Measured {
            name: name.into(),
            unit,
            median: rounded(median(rounds).unwrap_or_default(), 3),
            rounds: rounds.iter().map(|value| rounded(*value, 3)).collect(),
            parts: BTreeMap::new(),
            cpu_seconds_per_1000: BTreeMap::new(),
            peak_memory_bytes: BTreeMap::new(),
        }
    }

    /// Enters processor time of so many calls.
    pub fn cpu(mut self, who: &'static str, seconds: Option<f64>, calls: u64) -> Measured {
        if let Some(seconds) = seconds.filter(|_| calls > 0) {
            self.cpu_seconds_per_1000.insert(who, rounded(seconds * 1_000.0 / calls as f64, 4));
        }
        self
    }

    /// Enters memory.
    pub fn memory(mut self, who: &'static str, bytes: Option<u64>) -> Measured {
        if let Some(bytes) = bytes {
            self.peak_memory_bytes.insert(who, bytes);
        }
        self
    }
}

impl Comparison {
    /// Judges ratios of rounds; `None` without a round.
    pub fn new(
        id: &'static str,
        aim: Aim,
        target: f64,
        ratios: &[f64],
        ours: Measured,
        peer: Option<Measured>,
    ) -> Option<Comparison> {
        let spread = Spread::of(ratios)?;
        let [ratio, low, high] = [spread.median, spread.low, spread.high].map(|value| rounded(value, 3));
        let holds = match aim {
            Aim::AtLeast => spread.median >= target,
            Aim::AtMost => spread.median <= target,
        };
        let against = peer.as_ref().map(|peer| format!(" against {}", peer.name)).unwrap_or_default();
        let detail = Detail {
            work: format!("{}{against}", ours.name),
            aim,
            ratios: ratios.iter().map(|ratio| rounded(*ratio, 3)).collect(),
            ours,
            peer,
            further: BTreeMap::new(),
        };
        Some(Comparison { id, ratio, low, high, target, holds, detail })
    }

    /// Says on standard error what came out.
    pub fn tell(&self) {
        terminal::note(&format!("{}: {} ({} to {})", self.id, self.ratio, self.low, self.high));
    }

    /// Adds what else there is to know.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Comparison {
        self.detail.further.insert(name, value.into());
        self
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        writeln!(f, "{:3} {:76} {:>8} {:>8} {:>8}  target", "row", "work", "ratio", "low", "high")?;
        for row in &self.rows {
            let Comparison { id, ratio, low, high, target, detail, .. } = row;
            let verdict = if row.holds { "holds" } else { "missed" };
            let sign = if detail.aim == Aim::AtLeast { '≥' } else { '≤' };
            writeln!(f, "{id:3} {:76} {ratio:8.2} {low:8.2} {high:8.2}  {sign} {target} {verdict}", detail.work)?;
        }
        for row in &self.rows {
            writeln!(f)?;
            for side in std::iter::once(&row.detail.ours).chain(&row.detail.peer) {
                let Measured { name, unit, median, parts, .. } = side;
                let parts: Vec<String> = parts.iter().map(|(part, value)| format!("{part} {value:.2}")).collect();
                writeln!(f, "{:3} {name:50} {median:10.2} {unit:8} {}", row.id, parts.join(", "))?;
            }
            // Plans are for the JSON.
            for (name, value) in row.detail.further.iter().filter(|(_, value)| value.get(PLAN).is_none()) {
                writeln!(f, "{:3} {name}: {value}", row.id)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(aim: Aim, target: f64) -> Comparison {
        let [ours, peer] = ["ours", "peer"].map(|name| Measured::new(name, "ms", &[1.0, 2.0, 3.0]));
        Comparison::new("Q1", aim, target, &[1.0, 3.0, 2.0], ours, Some(peer)).unwrap()
    }

    #[test]
    fn a_target_is_reached_from_the_side_that_it_is_meant_from() {
        assert_eq!((row(Aim::AtLeast, 2.0).holds, row(Aim::AtLeast, 2.1).holds), (true, false));
        assert_eq!((row(Aim::AtMost, 2.0).holds, row(Aim::AtMost, 1.9).holds), (true, false));
        let row = row(Aim::AtMost, 2.0);
        assert_eq!((row.ratio, row.low, row.high), (2.0, 1.0, 3.0));
    }

    #[test]
    fn as_json_a_row_has_the_documented_shape() {
        let json = serde_json::to_value(row(Aim::AtLeast, 1.0).with("tail", 7)).unwrap();
        let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["detail", "high", "holds", "id", "low", "ratio", "target"]);
        assert_eq!((&json["detail"]["aim"], &json["detail"]["further"]["tail"]), (&"at_least".into(), &7.into()));
    }
}
