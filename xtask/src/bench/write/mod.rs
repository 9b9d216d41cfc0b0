//! `bench write`: sales written one by one, rows W1 to W4, against pgbench, and sales in one long stream, row W5,
//! against psql's COPY.

mod arguments;
mod rounds;
mod rows;

use std::process::ExitCode;

pub use arguments::{Args, Callers, RowId, setting};

use super::conclusion::conclude;
use super::plot::{self, Curve};
use super::report::Report;

/// Runs the measurement and prints what it found.
///
/// # Errors
///
/// It could not be run. A run that was void is no error but exit code 2, and a target that was missed is neither.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    conclude(rounds::run(args), args.output, args.svg.as_deref(), picture).await
}

fn picture(report: &Report) -> anyhow::Result<String> {
    let sides = report.sides();
    let good = sides.into_iter().filter(|side| side.refused == 0 && side.p50_ms.is_some());
    let (ours, peers) = good.partition(|side| side.is_ours);
    let curves = [
        Curve { name: "Tandem (gRPC, exactly once)", sides: ours },
        Curve { name: "pgbench (one prepared statement a sale)", sides: peers },
    ];
    plot::rates("Sales of three items, written one by one, replication on", &curves)
}
