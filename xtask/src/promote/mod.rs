//! `cargo xtask promote`: what `tandem-migrate promote` does, for the running pair; and all of it on a copy.

pub(crate) mod exchange;
mod rehearsal;

use std::process::ExitCode;

use clap::Args;

use crate::running::RunState;
use crate::upkeep::Which;

/// How `promote` is called.
#[derive(Debug, Args)]
pub struct PromoteCommand {
    #[command(flatten)]
    which: Which,
    /// Do all of it on a copy: of the primary as it is now, with a replica that is made anew. Nothing of the pair that runs is
    /// touched. Takes the disk of three primaries, and tells how long each step took.
    #[arg(long, conflicts_with_all = ["give_up", "yes"])]
    rehearse: bool,
    #[command(flatten)]
    promote: tandem_upkeep::PromoteArgs,
}

/// Turns a replica of the running pair into its primary, and starts the pair the other way round.
pub async fn run(args: &PromoteCommand) -> anyhow::Result<ExitCode> {
    if args.rehearse {
        return rehearsal::run(&args.promote).await;
    }
    let addresses = args.which.addresses()?;
    let Some(outcome) = args.promote.carry_out(&addresses).await else {
        return Ok(args.promote.give_up(&addresses).await);
    };
    if !outcome.as_ref().is_ok_and(|done| done.turned) {
        return Ok(args.promote.end(outcome, ""));
    }
    let state = RunState::load()?;
    let exchanged = exchange::run(&state, args.which.number()?).await;
    let code = args.promote.end(outcome, exchange::LEFT_TO_DO);
    exchanged?;
    Ok(code)
}
