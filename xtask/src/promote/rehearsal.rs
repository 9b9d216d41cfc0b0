//! A promotion of a copy, which tells how long one would take.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use tandem_upkeep::{Addresses, PromoteArgs};

use crate::places::RunDirectory;
use crate::postgres::{Rehearsal, copy_running, wait_until_ready};
use crate::running::{Interrupt, Interrupted, RunState};
use crate::service::{Binaries, Service};
use crate::terminal::{done, note};

const LEFT_TO_DO: &str = "this was a rehearsal: the copy is gone, and the pair runs as it did. A promotion takes about as long, \
    and in `turn` and `compare_again` longer on a machine that does other things";
/// What a shell reports for a command that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Copies, makes a replica, promotes it, and removes everything.
pub(super) async fn run(args: &PromoteArgs) -> anyhow::Result<ExitCode> {
    let state = RunState::load()?;
    let interrupt = Interrupt::listen()?;
    match rehearse(args, &state, &interrupt).await {
        Err(error) if error.is::<Interrupted>() => {
            note("interrupted: the copy is gone, and the pair runs as it did");
            Ok(ExitCode::from(INTERRUPTED))
        }
        ended => ended,
    }
}

async fn rehearse(args: &PromoteArgs, state: &RunState, interrupt: &Interrupt) -> anyhow::Result<ExitCode> {
    let directory = RunDirectory::open()?;
    let since = Instant::now();
    let binaries = interrupt.or(Binaries::build(false)).await??;
    done("services built", since);
    let copy = Rehearsal::beside(directory.path(), &state.postgres.bin_dir)?;
    let since = Instant::now();
    let primary = &state.primary;
    let copied =
        copy_running(&primary.admin_url, &primary.data_directory, copy.pair().primary(), interrupt.token()).await;
    interrupt.check()?;
    copied.context("the primary can't be copied")?;
    copy.pair().primary().start().await?;
    done(&format!("a copy of the primary on {}", copy.pair().primary().port()), since);
    let since = Instant::now();
    let replica = copy.pair().replica();
    replica.create().await?;
    replica.start().await?;
    replica.create_database().await?;
    interrupt.or(copy.pair().migrate(&binaries, Service::Query)).await??;
    interrupt.or(wait_until_ready(replica, args.timeout())).await??;
    done(&format!("a replica of it on {}", replica.port()), since);
    let addresses = Addresses {
        primary_url: copy.pair().primary().admin_url(),
        replica_url: replica.admin_url(),
        subscription: tandem_replication::SUBSCRIPTION.to_owned(),
    };
    let Some(outcome) = interrupt.or(args.agreed().carry_out(&addresses)).await? else {
        unreachable!("a rehearsal can't be given up: clap refuses both flags")
    };
    Ok(args.end(outcome, LEFT_TO_DO))
}
