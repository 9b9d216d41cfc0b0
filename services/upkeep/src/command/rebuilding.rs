//! `resync` and `rebuild-replica`.

use std::process::ExitCode;

use clap::Args;

use super::operation::Operation;
use crate::error::UpkeepError;
use crate::resync::{Resynced, clean_up, rebuild, resync};
use crate::sides::Addresses;

const LEFT: &str = "what was built beside the tables is taken away; they are as they were, or, where they had been swapped, \
    new; run it again";

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
        let options = operation.options(&addresses.subscription);
        let agree = |tables: &[String]| spinner.suspend(|| operation.agreed(&building(tables)));
        let building = resync(addresses, &self.table, &options, agree, |step| spinner.set_message(step.to_string()));
        let outcome = operation.in_time(&spinner, LEFT, building).await;
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
        let options = operation.options(&addresses.subscription);
        let agree = |tables: &[String]| {
            let stale = "While the old ones are swapped for them the stream is off, for longer where its slot is lost: \
                queries go on, and say how stale they are.";
            spinner.suspend(|| operation.agreed(&format!("{}\n{stale}", building(tables))))
        };
        let rebuilding = rebuild(addresses, &options, agree, |step| spinner.set_message(step.to_string()));
        let outcome = operation.in_time(&spinner, LEFT, rebuilding).await;
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
