//! The commands as an operator meets them: what is asked, what is printed, and how it ends. `tandem-query` and
//! `cargo xtask` share them.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;
use tandem_convergence::{Options, Report};

use crate::conflict::Conflict;
use crate::error::UpkeepError;
use crate::heal::{Healed, heal};
use crate::resync::{Resynced, clean_up, rebuild, resync};
use crate::sides::Addresses;

/// Done, and the databases differ; or nothing was done because nobody agreed.
const NOT_EQUAL: u8 = 1;
/// The exit code when it could not be done.
pub const FAILED: u8 = 2;
/// Fast enough to look alive, slow enough to cost nothing.
const SPINNER_TICK: Duration = Duration::from_millis(120);

/// What every one of these commands takes.
#[derive(Clone, Debug, Args)]
pub struct Operation {
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Give up after so many seconds. What was done until then stays, and the command can be run again.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub timeout: u64,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// What `heal` takes.
#[derive(Clone, Debug, Args)]
pub struct HealArgs {
    #[command(flatten)]
    operation: Operation,
}

impl HealArgs {
    /// Runs the command and prints what it did.
    pub async fn run(&self, addresses: &Addresses) -> ExitCode {
        let operation = &self.operation;
        let spinner = operation.spinner();
        let options = operation.options(addresses);
        let agree = |rows: &[Conflict]| spinner.suspend(|| operation.agreed(&plan(rows)));
        let healing = heal(addresses, &options, agree, |step| spinner.set_message(step.to_string()));
        let outcome = operation.in_time(&spinner, healing).await;
        operation.end(outcome, told, |healed: &Healed| healed.agreed.then_some(healed.verify.as_ref()).flatten())
    }
}

/// What `resync` takes.
#[derive(Clone, Debug, Args)]
pub struct ResyncArgs {
    /// The published table, as schema.table: sales.sales_item.
    #[arg(value_name = "TABLE")]
    table: String,
    #[command(flatten)]
    operation: Operation,
}

impl ResyncArgs {
    /// Runs the command and prints what it did.
    pub async fn run(&self, addresses: &Addresses) -> ExitCode {
        let operation = &self.operation;
        let spinner = operation.spinner();
        let options = operation.options(addresses);
        let agree = |tables: &[String]| spinner.suspend(|| operation.agreed(&building(tables)));
        let building = resync(addresses, &self.table, &options, agree, |step| spinner.set_message(step.to_string()));
        let outcome = operation.in_time(&spinner, building).await;
        operation.end(cleaned(addresses, outcome).await, resynced, |done: &Resynced| done.verify.as_ref())
    }
}

/// What `rebuild-replica` takes.
#[derive(Clone, Debug, Args)]
pub struct RebuildArgs {
    #[command(flatten)]
    operation: Operation,
}

impl RebuildArgs {
    /// Runs the command and prints what it did.
    pub async fn run(&self, addresses: &Addresses) -> ExitCode {
        let operation = &self.operation;
        let spinner = operation.spinner();
        let options = operation.options(addresses);
        let agree = |tables: &[String]| {
            let stale = "While the old ones are swapped for them the stream is off, for longer where its slot is lost: \
                queries go on, and say how stale they are.";
            spinner.suspend(|| operation.agreed(&format!("{}\n{stale}", building(tables))))
        };
        let rebuilding = rebuild(addresses, &options, agree, |step| spinner.set_message(step.to_string()));
        let outcome = operation.in_time(&spinner, rebuilding).await;
        operation.end(cleaned(addresses, outcome).await, resynced, |done: &Resynced| done.verify.as_ref())
    }
}

fn building(tables: &[String]) -> String {
    format!(
        "{} of the replica will be built anew from the primary, beside what queries read, and compared; then the old rows are \
         dropped and the new ones take their place. Rollups are folded anew; watchers have to begin anew.",
        tables.join(", ")
    )
}

fn resynced(done: &Resynced) -> String {
    match &done.verify {
        None => "nothing was changed".to_owned(),
        Some(verify) => format!("{verify}\nbuilt anew: {}", done.tables.join(", ")),
    }
}

/// What did not come to its end leaves nothing behind, as far as the replica answers; else the next run takes it away.
async fn cleaned(addresses: &Addresses, outcome: Result<Resynced, UpkeepError>) -> Result<Resynced, UpkeepError> {
    if let Err(UpkeepError::Busy | UpkeepError::Connect { .. }) = outcome {
        return outcome;
    }
    if outcome.is_err()
        && let Err(error) = clean_up(addresses).await
    {
        eprintln!("what was built could not be taken away, the next run does that: {}", error.with_causes());
    }
    outcome
}

fn plan(rows: &[Conflict]) -> String {
    let mut plan = String::from("These rows of the replica stand where the primary's stream puts rows, and stop it:\n");
    for row in rows {
        plan.push_str(&format!(
            "  {} {} ({}), commit at {}\n    on the replica: {}\n    the primary's:  {}\n",
            row.table, row.key, row.index, row.commit_lsn, row.on_replica, row.arriving
        ));
    }
    plan.push_str(
        "They are moved to tandem.set_aside on the replica; then the primary's rows take their places by themselves, and \
         both databases are compared.",
    );
    plan
}

fn told(healed: &Healed) -> String {
    let Some(verify) = healed.verify.as_ref() else { return "nothing was changed".to_owned() };
    match healed.rows.len() {
        0 => format!("{verify}\nno row of the replica stood in the primary's way"),
        1 => format!("{verify}\n1 row was set aside (tandem.set_aside), and apply has come past it"),
        rows => format!("{verify}\n{rows} rows were set aside (tandem.set_aside), and apply has come past them"),
    }
}

impl Operation {
    fn options(&self, addresses: &Addresses) -> Options {
        let timeout = Duration::from_secs(self.timeout);
        Options { timeout, subscription: addresses.subscription.clone(), ..Options::default() }
    }

    fn spinner(&self) -> ProgressBar {
        let spinner = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        spinner.enable_steady_tick(SPINNER_TICK);
        spinner
    }

    /// Says what is to be done, and asks unless it need not.
    fn agreed(&self, plan: &str) -> bool {
        eprintln!("{plan}");
        if self.yes {
            return true;
        }
        if !io::stdin().is_terminal() {
            eprintln!("There is no terminal to ask on: agree with --yes.");
            return false;
        }
        eprint!("Go on? [y/N] ");
        let mut answer = String::new();
        let read = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut answer));
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    async fn in_time<T>(
        &self,
        spinner: &ProgressBar,
        doing: impl Future<Output = Result<T, UpkeepError>>,
    ) -> Result<T, UpkeepError> {
        let timeout = Duration::from_secs(self.timeout);
        let doing = async {
            tokio::select! {
                done = doing => done,
                // Where signals can't be watched, they end the process by themselves.
                Ok(()) = tokio::signal::ctrl_c() => Err(UpkeepError::Interrupted),
            }
        };
        let outcome = tokio::time::timeout(timeout, doing).await;
        let doing = spinner.message();
        spinner.finish_and_clear();
        outcome.unwrap_or(Err(UpkeepError::TimedOut { timeout, doing }))
    }

    /// Prints the outcome, and tells the exit code.
    fn end<T: Serialize>(
        &self,
        outcome: Result<T, UpkeepError>,
        told: impl Fn(&T) -> String,
        verify: impl Fn(&T) -> Option<&Report>,
    ) -> ExitCode {
        match outcome {
            Ok(done) => {
                let text = match self.output {
                    Output::Text => told(&done),
                    // Plain data: no map keys but strings, no numbers that JSON lacks.
                    Output::Json => serde_json::to_string(&done).expect("an outcome is valid JSON"),
                };
                println!("{text}");
                if verify(&done).is_some_and(|report| report.equal) {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::from(NOT_EQUAL)
                }
            }
            Err(error) => {
                let why = error.with_causes();
                if self.output == Output::Json {
                    println!("{}", serde_json::json!({ "error": why }));
                }
                eprintln!("{why}");
                ExitCode::from(FAILED)
            }
        }
    }
}
