//! Stops servers by what is on disk alone, so that it works after any crash of whoever started them.
//!
//! `pg_ctl stop` sends the same signals; doing it here needs no installation and tells a foreign process that
//! has got the recorded id from a server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::places::remove_if_there;
use crate::process::{self, Pid, Signal, wait_until_gone};

/// How long a fast shutdown may take before it becomes an immediate one: a checkpoint of a laptop's data.
const FAST_LIMIT: Duration = Duration::from_secs(30);

/// How long an immediate shutdown may take before what is left is killed: the server itself kills after 5 s.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(8);

/// How long children may outlive a killed server before they are killed: they notice at once unless stuck.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Open transactions are rolled back, a checkpoint is written.
    Fast,
    /// No checkpoint: the next start recovers from the WAL.
    Immediate,
    /// The main process gets no chance to do anything (`kill -9`).
    Kill,
}

/// The main process of the server on this data directory, if it runs.
pub fn postmaster(data: &Path) -> Option<Pid> {
    let pid = process::read_pid_file(&data.join("postmaster.pid"))?;
    process::works_in(pid, &real(data)).then_some(pid)
}

/// Stops the server on this data directory and waits for its processes to end; harsher means follow where
/// the mode does not do in time. A server that does not run is no error.
pub async fn stop(name: &str, data: &Path, mode: Mode) -> anyhow::Result<()> {
    let escalation: &[(Signal, Duration)] = match mode {
        Mode::Fast => &[(Signal::INT, FAST_LIMIT), (Signal::QUIT, IMMEDIATE_LIMIT), (Signal::KILL, ORPHAN_LIMIT)],
        Mode::Immediate => &[(Signal::QUIT, IMMEDIATE_LIMIT), (Signal::KILL, ORPHAN_LIMIT)],
        Mode::Kill => &[(Signal::KILL, ORPHAN_LIMIT)],
    };
    for (signal, limit) in escalation {
        let Some(pid) = postmaster(data) else { break };
        process::signal(pid, *signal)
            .with_context(|| format!("{name} (process {}) can't be signalled", pid.as_raw_pid()))?;
        let directory = real(data);
        if wait_until_gone(*limit, || process::works_in(pid, &directory)).await {
            break;
        }
    }
    end_orphans(data).await?;
    ensure!(postmaster(data).is_none(), "{name} can't be stopped");
    Ok(())
}

/// Makes a data directory ready for a start after a crash: no child of a dead server, no stale process id.
pub(super) async fn clear_remains(data: &Path) -> anyhow::Result<()> {
    end_orphans(data).await?;
    let pid_file = data.join("postmaster.pid");
    // The server sees by itself that a recorded process is gone. It gives up where another program has got
    // the id since, and that can't be its server: nothing alive works in the data directory any more.
    if process::read_pid_file(&pid_file).is_some_and(process::exists) {
        remove_if_there(&pid_file)?;
    }
    Ok(())
}

/// Waits for the children of a server (or of an `initdb`) that is gone, and kills those that do not notice.
pub(super) async fn end_orphans(data: &Path) -> anyhow::Result<()> {
    let directory = real(data);
    let some_left = || !process::all_working_in(&directory).is_empty();
    if wait_until_gone(ORPHAN_LIMIT, some_left).await {
        return Ok(());
    }
    for pid in process::all_working_in(&directory) {
        process::signal(pid, Signal::KILL)?;
    }
    ensure!(wait_until_gone(ORPHAN_LIMIT, some_left).await, "processes in {} can't be ended", data.display());
    Ok(())
}

/// Process directories are told without symbolic links.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
