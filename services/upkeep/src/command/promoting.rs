//! `promote`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::str::FromStr as _;
use std::time::Duration;

use clap::Args;
use sqlx::postgres::PgConnectOptions;

use super::operation::{FAILED, NOT_EQUAL, Operation, Output};
use crate::error::UpkeepError;
use crate::promote::{GivenUp, Promoted, PromotionPlan, Record, give_up, promote};
use crate::sides::Addresses;

/// How things stand after an interruption.
const LEFT: &str =
    "run it again, and it goes on; as long as the replica was not turned, `promote --give-up` lets writers in again";

/// What `promote` takes.
#[derive(Clone, Debug, Args)]
pub struct PromoteArgs {
    #[command(flatten)]
    operation: Operation,
    /// Let writers in again that a promotion has locked out which was cut off, and do nothing else. Too late once the
    /// replica is the primary.
    #[arg(long)]
    give_up: bool,
}

impl PromoteArgs {
    /// Runs the command and prints what it did.
    pub async fn run(&self, addresses: &Addresses) -> ExitCode {
        match self.carry_out(addresses).await {
            Some(outcome) => self.end(outcome, &left_to_do(addresses)),
            None => self.give_up(addresses).await,
        }
    }

    /// What came of it; `None` where it was to be given up.
    pub async fn carry_out(&self, addresses: &Addresses) -> Option<Result<Promoted, UpkeepError>> {
        if self.give_up {
            return None;
        }
        let operation = &self.operation;
        let spinner = operation.spinner();
        let options = operation.options(&addresses.subscription);
        let agree = |plan: &PromotionPlan| spinner.suspend(|| operation.agreed(&planned(plan)));
        let promoting = promote(addresses, &options, agree, |step| spinner.set_message(step.to_string()));
        let outcome = operation.in_time(&spinner, LEFT, promoting).await;
        Some(given_up(addresses, outcome).await)
    }

    /// What it may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.operation.timeout)
    }

    /// The same without asking.
    #[must_use]
    pub fn agreed(&self) -> Self {
        let operation = Operation { yes: true, ..self.operation.clone() };
        Self { operation, ..self.clone() }
    }

    /// Prints the outcome, with what is left to do where the replica was turned, and tells the exit code.
    pub fn end(&self, outcome: Result<Promoted, UpkeepError>, left_to_do: &str) -> ExitCode {
        let turned = outcome.as_ref().is_ok_and(|done| done.turned);
        let code = self.operation.end(outcome, |done| told(done, left_to_do), |done| done.verify.as_ref());
        // Of a promotion that was cut off behind its COMMIT the comparison was made in the run before.
        if turned { ExitCode::SUCCESS } else { code }
    }

    /// Lets writers in again, and prints whether.
    pub async fn give_up(&self, addresses: &Addresses) -> ExitCode {
        let spinner = self.operation.spinner();
        match self.operation.in_time(&spinner, LEFT, give_up(addresses)).await {
            Ok(done) => {
                let lifted = done == GivenUp::Lifted;
                match (self.operation.output, done) {
                    (Output::Json, _) => println!("{}", serde_json::json!({ "lifted": lifted })),
                    (Output::Text, GivenUp::Lifted) => println!("writers are let in again"),
                    (Output::Text, GivenUp::NotFenced) => println!("no promotion has locked writers out"),
                    (Output::Text, GivenUp::TooLate) => println!("{}", UpkeepError::NotDemoted),
                }
                if lifted { ExitCode::SUCCESS } else { ExitCode::from(NOT_EQUAL) }
            }
            Err(error) => {
                eprintln!("{}", error.with_causes());
                ExitCode::from(FAILED)
            }
        }
    }
}

/// What was cut off before the COMMIT leaves nobody locked out, as far as both databases answer.
async fn given_up(addresses: &Addresses, outcome: Result<Promoted, UpkeepError>) -> Result<Promoted, UpkeepError> {
    let error = match outcome {
        Err(error) if !matches!(error, UpkeepError::Busy | UpkeepError::Connect { .. }) => error,
        done => return done,
    };
    match (give_up(addresses).await, error) {
        (Ok(GivenUp::Lifted | GivenUp::NotFenced), UpkeepError::Interrupted { .. }) => {
            Err(UpkeepError::PromotionInterrupted)
        }
        (Ok(GivenUp::Lifted), error) => {
            eprintln!("nothing was turned, and writers are let in again");
            Err(error)
        }
        (Ok(GivenUp::NotFenced), error) => Err(error),
        (Ok(GivenUp::TooLate), UpkeepError::Interrupted { .. } | UpkeepError::TimedOut { .. }) => {
            Err(UpkeepError::NotDemoted)
        }
        (Ok(GivenUp::TooLate), error) => {
            eprintln!("{}", UpkeepError::NotDemoted);
            Err(error)
        }
        (Err(source), error) => {
            Err(UpkeepError::StillFenced { outcome: error.with_causes(), source: Box::new(source) })
        }
    }
}

fn planned(plan: &PromotionPlan) -> String {
    let mut text = format!(
        "The replica (system {}) will take the place of the primary (system {}):\n\
         1. {} are compared, while they are in use.\n\
         2. {}: the role tandem_command may not log in to the old primary, and its sessions end.\n\
         3. Once the replica has applied everything, they are compared again. Where they differ, writers are let in again.\n\
         4. In one database transaction the replica becomes the primary. Copied into it:",
        plan.to_system,
        plan.from_system,
        plan.published.join(", "),
        if plan.is_fenced { "Writers are locked out already" } else { "Writers are locked out" },
    );
    let carried = plan.carried.iter().map(|(table, rows)| format!("{table} (about {rows} rows)"));
    // Writing to a String can't fail.
    let _infallible = writeln!(text, " {}.", carried.collect::<Vec<_>>().join(", "));
    if !plan.left_behind.is_empty() {
        let left = plan.left_behind.join(", ");
        let _infallible = writeln!(text, "   Not copied, since they are yours: {left}.");
    }
    if plan.set_aside > 0 {
        let _infallible = writeln!(text, "   {} rows in its tandem.set_aside go: keep what you need.", plan.set_aside);
    }
    let _infallible = write!(
        text,
        "5. The old primary stays locked, also to replicas, and loses its slots: {}.\n\
         Until its COMMIT in step 4 all of it can be given up. Query services of this replica have nothing to read afterwards; \
         replicas of the new primary are made anew.",
        plan.slots.join(", ")
    );
    text
}

fn told(done: &Promoted, left_to_do: &str) -> String {
    let verify = done.verify.as_ref().map(|verify| format!("{verify}\n")).unwrap_or_default();
    match &done.record {
        None if !done.agreed => "nothing was changed".to_owned(),
        None => format!(
            "{verify}nothing was turned, and writers are let in: `verify --repair` or `resync` mends the replica, then run this \
             again"
        ),
        Some(record) => {
            let times: Vec<String> =
                done.steps.iter().map(|time| format!("{} {:.1} s", time.step, time.seconds)).collect();
            format!("{verify}{}\nsteps: {}\n{}", proof(record), times.join(", "), left_to_do)
        }
    }
}

fn proof(record: &Record) -> String {
    format!(
        "the replica is the primary. Lost: 0 commits. The old primary's last commit lies before {}, and the replica had applied \
         {}: then {} rows were equal. {} rows of request ids and imports were copied. Writes were refused for {:.1} s.",
        record.drained_lsn,
        record.applied_lsn,
        record.rows_compared,
        record.rows_carried,
        record.seconds_without_writes()
    )
}

/// What nobody but the operator can do.
fn left_to_do(addresses: &Addresses) -> String {
    let place = |url: &str| {
        PgConnectOptions::from_str(url).map_or_else(
            |_| "(unknown)".to_owned(),
            |options| format!("TANDEM_PRIMARY_HOST={} TANDEM_PRIMARY_PORT={}", options.get_host(), options.get_port()),
        )
    };
    format!(
        "left to do:\n\
         - start the command services with {}, as before in everything else: callers may try again what was refused.\n\
         - make replicas: `tandem-query migrate` on an empty database, with the same. Its query service is told the same.\n\
         - the old primary refuses tandem_command and tandem_replication, and holds no slot. Keep it or throw it away; \
         never let it write again.",
        place(&addresses.replica_url)
    )
}
