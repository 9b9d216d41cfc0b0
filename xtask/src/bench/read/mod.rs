//! `bench read`: figures, rows Q1 to Q4, against the same SQL on the base tables and in DuckDB; single sales, rows Q5 and
//! L1, against pgbench and the row itself.

mod arguments;
mod duckdb;
mod figures;
mod lookups;
mod questions;
mod rounds;
mod sql;
mod visible;

use std::process::ExitCode;

pub use arguments::{Args, RowId};

use super::comparison::{Aim, Findings};
use super::conclusion::conclude;
use super::plot;

/// Runs the measurement and prints what it found.
///
/// # Errors
///
/// It could not be run. A run that was void is no error but exit code 2, and a target that was missed is neither.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    conclude(rounds::run(args), args.output, args.svg.as_deref(), picture).await
}

fn picture(findings: &Findings) -> anyhow::Result<String> {
    let rows = findings.rows.iter().filter(|row| row.detail.ours.unit == "ms" && row.detail.aim == Aim::AtLeast);
    let sides = rows.flat_map(|row| {
        std::iter::once((row.id, &row.detail.ours, true))
            .chain(row.detail.peer.as_ref().map(|peer| (row.id, peer, false)))
    });
    let bars: Vec<_> =
        sides.map(|(id, side, is_ours)| (format!("{id}: {}", side.name), side.rounds.clone(), is_ours)).collect();
    plot::milliseconds("Figures of 30 days out of 365", &bars)
}
