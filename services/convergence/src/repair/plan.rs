//! What a repair is going to do, and what it has done.

use std::fmt;

use serde::Serialize;

use crate::differences::Kind;
use crate::report::{Report, grouped};

/// What a repair is going to do to a table of the replica, or has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TablePlan {
    /// `schema.table`.
    pub table: String,
    /// Rows that are missing, to be inserted as the primary has them.
    pub insert: usize,
    /// Rows that are different, to be made what they are on the primary.
    pub update: usize,
    /// Rows that only the replica has, to be deleted.
    pub delete: usize,
}

/// A repair. Written with `{}`, it is a few lines for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// What was planned when the rows were found.
    pub plan: Vec<TablePlan>,
    /// Whether that was done: only with the caller's consent.
    pub carried_out: bool,
    /// How many rows were made what they are on the primary.
    pub mended: usize,
}

impl Repair {
    /// The plan for what a report lists.
    pub(crate) fn planned(report: &Report) -> Self {
        let plan = report.tables.iter().filter(|table| !table.differences.is_empty()).map(|table| {
            let count = |kind| table.differences.iter().filter(|one| one.kind == kind).count();
            let (insert, update, delete) = (count(Kind::Missing), count(Kind::Different), count(Kind::Extra));
            TablePlan { table: table.table.clone(), insert, update, delete }
        });
        Self { plan: plan.collect(), carried_out: false, mended: 0 }
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = if self.carried_out { "repaired on the replica" } else { "to be repaired on the replica" };
        for TablePlan { table, insert, update, delete } in &self.plan {
            let [insert, update, delete] = [insert, update, delete].map(|rows| grouped(*rows as u64));
            writeln!(f, "{done}, {table}: {insert} to insert, {update} to update, {delete} to delete")?;
        }
        if self.carried_out {
            writeln!(
                f,
                "{} rows were mended from the primary, and both sides verified again:",
                grouped(self.mended as u64)
            )
        } else {
            writeln!(f, "Nothing was changed: add --yes to carry this out.")
        }
    }
}
