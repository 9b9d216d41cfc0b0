//! What the comparison found.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::differences::{Difference, Kind};
use crate::leftover::Leftover;
use crate::repair::Repair;
use crate::rollups::RollupReport;
use crate::sums::Sums;

/// Differences of each table that are shown to people; programs get all.
const SHOWN: usize = 20;

/// What is said of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both sides hold the same rows.
    Equal,
    /// Some rows differ.
    Different,
    /// Time ran out before every row was decided.
    Undecided,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Equal => "equal",
            Self::Different => "different",
            Self::Undecided => "undecided",
        })
    }
}

/// One published table on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// `schema.table`.
    pub table: String,
    /// What is said of it.
    pub verdict: Verdict,
    /// Rows of the primary that were compared.
    pub rows: u64,
    /// Rows that were written in the middle of a fence and had to be looked at again.
    pub set_aside: u64,
    /// Those of them that were looked at again, at rest.
    pub rechecked: u64,
    /// Every row that differs, in the order of the keys' texts.
    pub differences: Vec<Difference>,
    /// Whether there are more than were listed.
    pub more_differences: bool,
    /// Of a sample: how many rows the table has, about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled_of: Option<u64>,
    /// What the primary's rows come to, without those that were set aside; absent where the table was not read whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<Sums>,
    /// The same of the replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<Sums>,
}

/// What the comparison found. Written with `{}`, it is a table for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether every table is [`Verdict::Equal`], and no rollup differs from the sales.
    pub equal: bool,
    /// Every table that was compared, in the order of their names.
    pub tables: Vec<TableReport>,
    /// The replica's rollups against its sales; absent where there are none, or where they were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollups: Option<RollupReport>,
    /// What was repaired, or would be; absent where that was not asked for, or nothing differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repair>,
    /// How many fences were raised.
    pub fences: u32,
    /// Slots of verifiers that are gone, which this one has taken away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<Leftover>,
    /// How long the replica was waited for, in seconds.
    pub waited_seconds: f64,
    /// How long everything took, in seconds.
    pub seconds: f64,
}

impl Report {
    pub(crate) fn new(
        tables: Vec<TableReport>,
        rollups: Option<RollupReport>,
        fences: u32,
        waited: Duration,
        elapsed: Duration,
    ) -> Self {
        let tables_are = tables.iter().all(|table| table.verdict == Verdict::Equal);
        let equal = tables_are && rollups.as_ref().is_none_or(|rollups| rollups.different == 0);
        let (waited_seconds, seconds) = (waited.as_secs_f64(), elapsed.as_secs_f64());
        Self { equal, tables, rollups, repair: None, fences, leftovers: Vec::new(), waited_seconds, seconds }
    }

    pub(crate) fn with_leftovers(self, leftovers: Vec<Leftover>) -> Self {
        Self { leftovers, ..self }
    }

    /// How many rows were compared in all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// How many rows differ, as far as they are listed.
    #[must_use]
    pub fn differences(&self) -> usize {
        self.tables.iter().map(|table| table.differences.len()).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Leftover { slot, .. } in &self.leftovers {
            writeln!(f, "{slot} was left by a verifier that is gone: dropped")?;
        }
        if let Some(repair) = self.repair.as_ref().filter(|repair| repair.carried_out) {
            write!(f, "{repair}")?;
        }
        let width = self.tables.iter().map(|table| table.table.len()).max().unwrap_or(0).max("table".len());
        writeln!(f, "{:width$}  {:>14}  {:>11}  {:>11}  verdict", "table", "rows", "written", "looked at")?;
        writeln!(f, "{:width$}  {:>14}  {:>11}  {:>11}", "", "", "meanwhile", "again")?;
        for table in &self.tables {
            let TableReport { table: name, verdict, rows, set_aside, rechecked, .. } = table;
            let [rows, set_aside, rechecked] = [rows, set_aside, rechecked].map(|number| grouped(*number));
            write!(f, "{name:width$}  {rows:>14}  {set_aside:>11}  {rechecked:>11}  {verdict}")?;
            match table.sampled_of {
                Some(of) => writeln!(f, ", as far as a sample of about {} rows tells", grouped(of))?,
                None => writeln!(f)?,
            }
        }
        self.tables.iter().try_for_each(|table| table.describe_differences(f))?;
        if let Some(rollups) = &self.rollups {
            rollups.describe(f)?;
        }
        if let Some(repair) = self.repair.as_ref().filter(|repair| !repair.carried_out) {
            write!(f, "{repair}")?;
        }
        let verdict = if self.equal { "equal" } else { "different" };
        write!(
            f,
            "{verdict}: {} rows in {} tables; {} in {:.1} s, of which {:.1} s waiting for the replica",
            grouped(self.rows()),
            self.tables.len(),
            if self.fences == 1 { "1 fence".to_owned() } else { format!("{} fences", self.fences) },
            self.seconds,
            self.waited_seconds
        )
    }
}

impl TableReport {
    fn describe_differences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.differences.is_empty() {
            return Ok(());
        }
        let count = |kind| self.differences.iter().filter(|difference| difference.kind == kind).count() as u64;
        writeln!(
            f,
            "{}: {} missing on the replica, {} extra, {} different{}",
            self.table,
            grouped(count(Kind::Missing)),
            grouped(count(Kind::Extra)),
            grouped(count(Kind::Different)),
            if self.more_differences { ", and more that were not looked for" } else { "" }
        )?;
        for Difference { key, kind, columns } in self.differences.iter().take(SHOWN) {
            write!(f, "  {kind:9}  {key}")?;
            if columns.is_empty() { writeln!(f)? } else { writeln!(f, "  in {}", columns.join(", "))? }
        }
        match self.differences.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "  and {} more: --output json lists them", grouped(more as u64)),
        }
    }
}

impl RollupReport {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |count: i64| grouped(count.unsigned_abs());
        match self.different {
            0 => writeln!(f, "rollups: {} equal what the replica's sales add up to", number(self.compared)),
            different => {
                writeln!(
                    f,
                    "rollups: {} of {} differ from the replica's sales;",
                    number(different),
                    number(self.compared)
                )?;
                writeln!(
                    f,
                    "`tandem-query rebuild-rollups` mends them. The first, as revenue, transactions, repeats, items, discount:"
                )?;
                self.examples.iter().try_for_each(|example| writeln!(f, "  {example}"))
            }
        }
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn table(verdict: Verdict, differences: Vec<Difference>) -> TableReport {
        TableReport {
            table: "sales.sales_item".to_owned(),
            verdict,
            rows: 3,
            set_aside: 1,
            rechecked: 1,
            differences,
            more_differences: false,
            sampled_of: None,
            primary: None,
            replica: None,
        }
    }

    fn report(table: TableReport) -> Report {
        Report::new(vec![table], None, 2, Duration::ZERO, Duration::from_millis(1_500))
    }

    fn difference() -> Difference {
        let columns = vec!["discount".to_owned()];
        Difference { key: Key(vec!["7".to_owned()]), kind: Kind::Different, columns }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn an_undecided_table_makes_the_report_unequal() {
        assert!(!report(table(Verdict::Undecided, Vec::new())).equal);
    }

    #[test]
    fn a_difference_names_the_row_and_its_columns() {
        let text = report(table(Verdict::Different, vec![difference()])).to_string();
        assert!(
            text.contains("0 missing on the replica, 0 extra, 1 different\n  different  7  in discount\n"),
            "{text}"
        );
    }

    #[test]
    fn as_json_it_has_the_documented_shape() {
        let json = serde_json::to_value(report(table(Verdict::Different, vec![difference()]))).unwrap();
        let expected = serde_json::json!({
            "equal": false,
            "tables": [{
                "table": "sales.sales_item", "verdict": "different", "rows": 3, "set_aside": 1, "rechecked": 1,
                "differences": [{"key": "7", "kind": "different", "columns": ["discount"]}], "more_differences": false,
            }],
            "fences": 2, "waited_seconds": 0.0, "seconds": 1.5,
        });
        assert_eq!(json, expected);
    }
}
