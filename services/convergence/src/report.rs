//! What the comparison found.

use std::fmt;

use serde::Serialize;

use crate::fingerprint::Fingerprint;
use crate::rollups::RollupReport;

/// What is said of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both sides hold the same rows.
    Equal,
    /// The replica has what the primary had, and holds other rows.
    Different,
    /// The primary changed in every round, or time ran out.
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
    /// What the primary held; absent where time ran out before it was read.
    pub primary: Option<Fingerprint>,
    /// What the replica held; absent where time ran out before it was read.
    pub replica: Option<Fingerprint>,
    /// Whether these are the same.
    pub verdict: Verdict,
}

/// What the comparison found. Written with `{}`, it is a table for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether every table is [`Verdict::Equal`], and no rollup differs from the sales.
    pub equal: bool,
    /// Every published table, in the order of their names.
    pub tables: Vec<TableReport>,
    /// The replica's rollups against its sales; absent where there are none, or where they were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollups: Option<RollupReport>,
    /// How many rounds were needed.
    pub rounds: u32,
    /// How long the replica was waited for, in seconds.
    pub waited_seconds: f64,
    /// How long everything took, in seconds.
    pub seconds: f64,
}

impl Report {
    pub(crate) fn new(
        tables: Vec<TableReport>,
        rollups: Option<RollupReport>,
        rounds: u32,
        waited_seconds: f64,
        seconds: f64,
    ) -> Self {
        let tables_are = tables.iter().all(|table| table.verdict == Verdict::Equal);
        let equal = tables_are && rollups.as_ref().is_none_or(|rollups| rollups.different == 0);
        Self { equal, tables, rollups, rounds, waited_seconds, seconds }
    }

    /// How many rows the replica holds in all published tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().filter_map(|table| table.replica.as_ref()).map(|print| print.rows).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.tables.iter().map(|table| table.table.len()).max().unwrap_or(0).max("table".len());
        writeln!(f, "{:width$}  {:>14}  {:>14}  verdict", "table", "primary rows", "replica rows")?;
        for table in &self.tables {
            let rows = |print: &Option<Fingerprint>| {
                print.as_ref().map_or_else(|| "not read".to_owned(), |print| grouped(print.rows))
            };
            let (primary, replica) = (rows(&table.primary), rows(&table.replica));
            writeln!(f, "{:width$}  {primary:>14}  {replica:>14}  {}", table.table, table.verdict)?;
        }
        for table in self.tables.iter().filter(|table| table.verdict == Verdict::Different) {
            table.describe_difference(f)?;
        }
        if let Some(rollups) = &self.rollups {
            rollups.describe(f)?;
        }
        let verdict = if self.equal { "equal" } else { "different" };
        write!(
            f,
            "{verdict}: {} rows in {} tables on the replica; {:.1} s, of which {:.1} s waiting for the replica",
            grouped(self.rows()),
            self.tables.len(),
            self.seconds,
            self.waited_seconds
        )
    }
}

impl TableReport {
    fn describe_difference(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(primary), Some(replica)) = (&self.primary, &self.replica) else {
            return Ok(());
        };
        write!(f, "{}: ", self.table)?;
        match replica.rows.abs_diff(primary.rows) {
            0 => write!(f, "as many rows, but not the same")?,
            rows => {
                let more = if replica.rows < primary.rows { "fewer" } else { "more" };
                let noun = if rows == 1 { "row" } else { "rows" };
                write!(f, "the replica has {} {noun} {more}", grouped(rows))?;
            }
        }
        for (column, sum) in &primary.sums {
            if let Some(other) = replica.sums.get(column).filter(|other| *other != sum) {
                write!(f, "; sum of {column}: primary {sum}, replica {other}")?;
            }
        }
        writeln!(f)
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
fn grouped(number: u64) -> String {
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

    fn print(rows: u64, total: &str) -> Option<Fingerprint> {
        let sums = [("total_amount".to_owned(), total.to_owned())].into();
        Some(Fingerprint { rows, sums, hash: total.to_owned() })
    }

    fn table(primary: Option<Fingerprint>, replica: Option<Fingerprint>, verdict: Verdict) -> TableReport {
        TableReport { table: "sales.sales_item".to_owned(), primary, replica, verdict }
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
        let tables = vec![table(print(1, "1"), print(1, "1"), Verdict::Equal), table(None, None, Verdict::Undecided)];
        assert!(!Report::new(tables, None, 1, 0.0, 0.0).equal);
    }

    #[test]
    fn a_difference_names_the_table_the_rows_and_the_sums() {
        let tables = vec![table(print(3, "7.50"), print(2, "7.49"), Verdict::Different)];
        let text = Report::new(tables, None, 2, 0.0, 0.0).to_string();
        assert!(
            text.contains(
                "sales.sales_item: the replica has 1 row fewer; \
                 sum of total_amount: primary 7.50, replica 7.49"
            ),
            "{text}"
        );
    }

    #[test]
    fn as_json_it_has_the_documented_shape() {
        let tables = vec![table(print(3, "7.50"), print(3, "7.50"), Verdict::Equal)];
        let json = serde_json::to_value(Report::new(tables, None, 1, 0.5, 1.5)).unwrap();
        let fingerprint = serde_json::json!({"rows": 3, "sums": {"total_amount": "7.50"}, "hash": "7.50"});
        let expected = serde_json::json!({
            "equal": true,
            "tables": [{
                "table": "sales.sales_item", "primary": fingerprint, "replica": fingerprint, "verdict": "equal",
            }],
            "rounds": 1, "waited_seconds": 0.5, "seconds": 1.5,
        });
        assert_eq!(json, expected);
    }
}
