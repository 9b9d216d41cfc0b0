//! `cargo xtask reset`: stops the pair and removes everything it knew.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::down::stop_pair;
use crate::places::{RunDirectory, remove_if_there};
use crate::postgres::{DEMOTED, cluster_directories};
use crate::running::UpLock;
use crate::terminal;

/// How `reset` is called.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// Removes data, passwords and logs; keeps the PostgreSQL and the tools that were fetched.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let directory = RunDirectory::open()?;
    let clusters = cluster_directories(directory.path()).into_iter().map(|(_, path)| path);
    // The passwords go last: data without its passwords is of no use, passwords without data do no harm.
    let of_pair = |name| directory.path().join(name);
    let rest =
        [directory.services(), directory.filling_file(), of_pair(DEMOTED), of_pair("promoted"), of_pair("passwords")];
    let everything: Vec<PathBuf> = clusters.chain(rest).collect();
    if !everything.iter().any(|path| path.exists()) && UpLock::holder(&directory.lock_file())?.is_none() {
        terminal::note("nothing to remove");
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes && !confirmed(&directory)? {
        terminal::note("nothing was removed");
        return Ok(ExitCode::FAILURE);
    }
    let since = Instant::now();
    stop_pair(&directory).await?;
    for path in everything {
        remove_if_there(&path).with_context(|| format!("{} can't be removed", path.display()))?;
    }
    terminal::done("databases, passwords and logs removed", since);
    Ok(ExitCode::SUCCESS)
}

fn confirmed(directory: &RunDirectory) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("reset removes all databases: confirm with --yes where there is no terminal to ask on");
    }
    eprint!("Stop the pair and remove its databases in {}? [y/N] ", directory.path().display());
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
