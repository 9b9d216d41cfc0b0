//! `cargo xtask up`: from nothing to equal databases and their services, and back on Ctrl-C.

mod filling;
mod follow;
mod replicas;
mod starting;
mod summary;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use futures::future::select_all;

use crate::cli::PostgresArgs;
use crate::log_excerpt::Logged;
use crate::places::RunDirectory;
use crate::postgres::{Cluster, ReplicaNumber};
use crate::promote::exchange;
use crate::running::{Interrupt, Interrupted, PortArgs, Ports, RunState, ServiceProcess, UpLock, halt};
use crate::terminal;

use starting::Started;

/// How often the watch looks whether the servers are alive.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// What a shell reports for a command that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// How `up` is called.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With several replicas, each is a server of its own with a query service of its own, which answers as replica-1, \
    replica-2, …: tokens hold on all of them. A token that a reader carries from answer to answer keeps time from running \
    backwards, whichever answers. Ports of the second are 10 above those of the first, of the third 20.\n\n\
    Exit code: 0 when the pair ran and was stopped (or runs on, with --detach), \
    130 when it was interrupted before it ran, 1 otherwise: also when it ran and both sides were not equal."
)]
pub struct Args {
    /// Return when the pair runs, and leave it running.
    #[arg(long)]
    detach: bool,
    /// How many sales an empty primary is filled with; 0 for none [default: 10000].
    #[arg(long)]
    sales: Option<u64>,
    /// How many replicas, 1 to 4; more than there are adds some [default: those that there are, 1 at first].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(ReplicaNumber::MOST)))]
    replicas: Option<u8>,
    /// Build the services with optimisations.
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    postgres: PostgresArgs,
    #[command(flatten)]
    ports: PortArgs,
}

/// Starts the pair; in the foreground, also watches it and stops it.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let directory = RunDirectory::open()?;
    let lock = UpLock::take(&directory.lock_file())?;
    if let Ok(state) = RunState::load_from(&directory.state_file())
        && state.runs(&directory)
        // Where nobody holds the lock, a filling that is not finished was interrupted: it must go on.
        && (lock.is_none() || !directory.filling_file().exists())
    {
        args.ports.agree_with(&state)?;
        replicas::agree_with(args.replicas, &state)?;
        tell_of_running(args, &state, lock.is_none());
        return Ok(ExitCode::SUCCESS);
    }
    if lock.is_none() {
        let holder = UpLock::holder(&directory.lock_file())?;
        let who = holder.map_or_else(String::new, |pid| format!(" (process {})", pid.as_raw_pid()));
        bail!("another `cargo xtask up`{who} is at work on this pair: wait for it, or stop it with `cargo xtask down`");
    }
    let interrupt = Interrupt::listen()?;
    let left_over = halt(&directory).await?;
    exchange::finish(directory.path())?;
    let count = replicas::wanted(args.replicas, directory.path())?;
    let ports = Ports::new(&args.ports, count)?;
    if !left_over.is_empty() {
        terminal::note(&format!("stopped what an earlier run had left behind: {}", left_over.join(", ")));
    }
    ports.check_free()?;
    let outcome = start_and_watch(args, &directory, &ports, &interrupt).await;
    // `down` takes the lock's holder for the one that stops the pair, so the lock is held to the end.
    let ended = end(args, &directory, outcome).await;
    drop(lock);
    ended
}

/// Says that there is nothing to start, and who looks after what runs.
fn tell_of_running(args: &Args, state: &RunState, watched: bool) {
    if watched {
        terminal::note("the pair runs already, watched by another `cargo xtask up`");
    } else {
        terminal::note(
            "the pair runs already, and nobody watches it: its `up` was detached or killed. What ends stays down; \
             `cargo xtask down` and `cargo xtask up` start it watched",
        );
    }
    if let Some(sales) = args.sales {
        terminal::note(&filling::no_sales_were_made(sales));
    }
    terminal::result(summary::of(state));
    let stop = if watched { summary::STOP_ELSEWHERE } else { summary::STOP_DETACHED };
    terminal::result(stop);
}

/// Starts the pair and, in the foreground, returns only when it is to be stopped: asked to (Ok), or because
/// a part of it has ended (Err).
async fn start_and_watch(
    args: &Args,
    directory: &RunDirectory,
    ports: &Ports,
    interrupt: &Interrupt,
) -> anyhow::Result<ExitCode> {
    let mut started = starting::start(args, directory, ports, interrupt).await?;
    let equal = filling::fill_and_verify(args.sales, directory, &started.state, interrupt).await?;
    // A pair whose sides differ runs on: only a running one can be looked at.
    let code = if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    terminal::result(summary::of(&started.state));
    if args.detach {
        terminal::result(summary::STOP_DETACHED);
        return Ok(code);
    }
    terminal::result(format_args!("{}\n", summary::STOP));
    watch(&mut started, directory, interrupt).await?;
    Ok(code)
}

/// Shows the services' logs until somebody asks to stop, or a part of the pair ends.
async fn watch(started: &mut Started, directory: &RunDirectory, interrupt: &Interrupt) -> anyhow::Result<()> {
    let Started { services, pair, .. } = started;
    let shown: Vec<_> = services.iter().map(ServiceProcess::instance).collect();
    tokio::select! {
        () = interrupt.asked() => Ok(()),
        (ended, ..) = select_all(services.iter_mut().map(|service| Box::pin(service.ended()))) => bail!(ended?),
        (obituary, ..) = select_all(pair.clusters().map(|cluster| Box::pin(until_gone(cluster)))) => bail!(obituary),
        failed = follow::follow(directory, shown.into_iter()) => failed.map(|never| match never {}),
    }
}

/// Stops what has to be stopped and turns the outcome into the command's own.
async fn end(args: &Args, directory: &RunDirectory, outcome: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match outcome {
        Ok(code) if args.detach => Ok(code),
        Ok(code) => {
            terminal::note("stopping");
            halt(directory).await?;
            terminal::note("stopped; the data stays for the next `cargo xtask up`");
            Ok(code)
        }
        Err(error) if error.is::<Interrupted>() => {
            terminal::clear_line();
            terminal::note("interrupted: stopping what was started");
            halt(directory).await?;
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => {
            // Said before the rest is stopped, so that a stop that hangs does not hide it.
            terminal::failure(&error);
            let had_started = directory.state_file().exists();
            let rest = if halt(directory).await?.is_empty() { "nothing runs" } else { "everything else was stopped" };
            let next = if had_started { "starts the pair again" } else { "tries again" };
            terminal::note(&format!("{rest}; `cargo xtask up` {next}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Returns when a server has ended: what to tell of it.
async fn until_gone(cluster: &Cluster) -> Logged {
    let log_begins = cluster.log_size();
    while cluster.postmaster().is_some() {
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
    Logged::new(format!("the {} has ended by itself", cluster.name()), &cluster.log_file(), log_begins)
}
