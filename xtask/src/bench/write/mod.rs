//! `bench write`: sales written one by one, rows W1 to W4, against pgbench.

mod arguments;
mod rounds;
mod rows;

pub use arguments::{Args, Callers, Output, RowId};
use std::fs;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use super::answers::Void;
use super::plot::{self, Curve};
use super::report::Report;
use crate::running::{Interrupt, Interrupted};
use crate::terminal;

/// A wrong answer makes every figure worthless.
const VOID: u8 = 2;

/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Runs the measurement and prints what it found.
///
/// # Errors
///
/// It could not be run. A run that was void is no error but exit code 2, and a target that was missed is neither.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    // Dropping the run ends whatever it has started.
    let outcome = interrupt.or(rounds::run(args)).await;
    let report = match outcome {
        Err(Interrupted) => {
            terminal::note("interrupted: everything is stopped");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Ok(Err(error)) => {
            let Some(void) = error.downcast_ref::<Void>() else { return Err(error) };
            if args.output == Output::Json {
                terminal::result(json!({"void": void.0}));
            }
            terminal::failure(&error);
            return Ok(ExitCode::from(VOID));
        }
        Ok(Ok(report)) => report,
    };
    if let Some(path) = &args.svg {
        fs::write(path, picture(&report)?).with_context(|| format!("{} can't be written", path.display()))?;
    }
    match args.output {
        Output::Text => terminal::result(&report),
        Output::Json => terminal::result(serde_json::to_string(&report)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn picture(report: &Report) -> anyhow::Result<String> {
    let sides = report.sides();
    let good = sides.into_iter().filter(|side| side.refused == 0);
    let (ours, peers) = good.partition(|side| side.is_ours);
    let curves = [
        Curve { name: "Tandem (gRPC, exactly once)", sides: ours },
        Curve { name: "pgbench (one prepared statement a sale)", sides: peers },
    ];
    plot::rates("Sales of three items, written one by one, replication on", &curves)
}
