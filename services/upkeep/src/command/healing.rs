//! `heal`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::operation::Operation;
use crate::conflict::Conflict;
use crate::heal::{Healed, heal};
use crate::sides::Addresses;

const LEFT: &str = "rows that were set aside are in tandem.set_aside, and nothing else was changed; run it again";

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
        let options = operation.options(&addresses.subscription);
        let agree = |rows: &[Conflict]| spinner.suspend(|| operation.agreed(&plan(rows)));
        let healing = heal(addresses, &options, agree, |step| spinner.set_message(step.to_string()));
        let outcome = operation.in_time(&spinner, LEFT, healing).await;
        operation.end(outcome, told, |healed: &Healed| healed.agreed.then_some(healed.verify.as_ref()).flatten())
    }
}

fn plan(rows: &[Conflict]) -> String {
    let mut plan = String::from("These rows of the replica stand where the primary's stream puts rows, and stop it:\n");
    for row in rows {
        // Writing to a String can't fail.
        let _infallible = writeln!(
            plan,
            "  {} {} ({}), commit at {}\n    on the replica: {}\n    the primary's:  {}",
            row.table, row.key, row.index, row.commit_lsn, row.on_replica, row.arriving
        );
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
