//! `migrate plan` and `migrate apply`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::operation::{FAILED, NOT_EQUAL, Operation, Output};
use crate::change::{Applied, Change, Direction, PairAddresses, Plan, apply, plan};
use crate::error::UpkeepError;

const LEFT: &str = "the steps that were done stay, and no replica lacks what the stream brings; `plan` shows where both sides \
    stand, and `apply` goes on from there";

/// Which change.
#[derive(Clone, Debug, Args)]
struct Changed {
    /// The change: a TOML file with table, column, type, and perhaps default and backfill.
    #[arg(long, value_name = "FILE")]
    change: PathBuf,
    /// The column goes, in the reverse order. Nobody may write or read it any more.
    #[arg(long)]
    contract: bool,
}

impl Changed {
    fn direction(&self) -> Direction {
        if self.contract { Direction::Contract } else { Direction::Expand }
    }

    fn read(&self) -> Result<Change, UpkeepError> {
        let path = &self.change;
        let text = fs::read_to_string(path).map_err(|source| UpkeepError::File { path: path.clone(), source })?;
        Ok(Change::parse(&text)?)
    }
}

/// What `migrate plan` takes.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    changed: Changed,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl PlanArgs {
    /// Prints where both sides stand.
    pub async fn run(&self, addresses: &PairAddresses) -> ExitCode {
        let planned = match self.changed.read() {
            Ok(change) => plan(addresses, &change, self.changed.direction()).await,
            Err(error) => Err(error),
        };
        match planned {
            Ok(plan) => {
                match self.output {
                    Output::Text => println!("{}", told(&plan)),
                    Output::Json => println!("{}", serde_json::to_string(&plan).expect("a plan is valid JSON")),
                }
                match (plan.is_done(), plan.drift.is_empty()) {
                    (true, _) => ExitCode::SUCCESS,
                    (false, true) => ExitCode::from(NOT_EQUAL),
                    (false, false) => ExitCode::from(FAILED),
                }
            }
            Err(error) => {
                eprintln!("{}", error.with_causes());
                ExitCode::from(FAILED)
            }
        }
    }
}

/// What `migrate apply` takes.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    changed: Changed,
    #[command(flatten)]
    operation: Operation,
}

impl ApplyArgs {
    /// Carries out what is left, and prints how both sides stand.
    pub async fn run(&self, addresses: &PairAddresses) -> ExitCode {
        let operation = &self.operation;
        let spinner = operation.spinner();
        // Each replica brings its own.
        let options = operation.options("");
        let agree = |plan: &Plan| spinner.suspend(|| operation.agreed(&told(plan)));
        let applying = async {
            let change = self.changed.read()?;
            let observe = |step: &crate::sides::Step| spinner.set_message(step.to_string());
            apply(addresses, &change, self.changed.direction(), &options, agree, observe).await
        };
        let outcome = operation.in_time(&spinner, LEFT, applying).await;
        operation.end(outcome, applied, |done: &Applied| {
            done.verify.iter().find(|report| !report.equal).or(done.verify.first())
        })
    }
}

fn told(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan.drift.iter().map(|drift| format!("drift: {drift}")).collect();
    lines.extend(plan.steps.iter().map(|step| {
        let state = match step.state {
            crate::change::StepState::Done => "done ",
            crate::change::StepState::Due => "due  ",
            crate::change::StepState::Later => "later",
        };
        format!("{state}  {:<8} {}", step.side, step.what)
    }));
    lines.join("\n")
}

fn applied(done: &Applied) -> String {
    let mut lines: Vec<String> = done.verify.iter().map(ToString::to_string).collect();
    lines.push(told(&done.plan));
    if done.back_filled > 0 {
        lines.push(format!("{} rows were filled", done.back_filled));
    }
    lines.join("\n")
}
