//! `cargo xtask down`: stops the pair, in whatever state it is.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::places::RunDirectory;
use crate::postgres::cluster_directories;
use crate::process::{self, Signal, wait_until_gone};
use crate::running::{UpLock, halt};
use crate::terminal;

/// How long an `up` that was asked to stop may take: draining, a checkpoint of each server, and some more.
const UP_LIMIT: Duration = Duration::from_secs(120);

/// How `down` is called.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Stops a detached pair, one in the foreground of another terminal, one that is starting, and what a crash
/// has left. Nothing to stop is no error.
pub async fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    let since = Instant::now();
    let directory = RunDirectory::open()?;
    let stopped = stop_pair(&directory).await?.join(", ");
    if stopped.is_empty() {
        terminal::note("nothing was running");
    } else if cluster_directories(directory.path()).iter().any(|(_, cluster)| cluster.join("data").exists()) {
        terminal::done(&format!("stopped {stopped}; the data stays"), since);
    } else {
        terminal::done(&format!("stopped {stopped}"), since);
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends the `up` that holds the pair, if there is one, and then whatever is left; returns what was running.
pub(crate) async fn stop_pair(directory: &RunDirectory) -> anyhow::Result<Vec<String>> {
    let lock = directory.lock_file();
    let mut stopped = Vec::new();
    if let Some(up) = UpLock::holder(&lock)? {
        let pair_runs = directory.state_file().exists();
        process::signal(up, Signal::TERM)?;
        let gone = wait_until_gone(UP_LIMIT, || !matches!(UpLock::holder(&lock), Ok(None))).await;
        ensure!(gone, "`cargo xtask up` (process {}) was asked to stop and goes on", up.as_raw_pid());
        let what =
            if pair_runs { "the pair of `cargo xtask up`" } else { "`cargo xtask up`, which was still starting" };
        stopped.push(what.to_owned());
    }
    stopped.extend(halt(directory).await?);
    Ok(stopped)
}
