//! Ends everything of a pair by what is on disk, whoever started it and however that ended.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::processes::{alive, forget};
use crate::places::{RunDirectory, remove_if_there};
use crate::postgres::{Mode, cluster_directories, postmaster, stop};
use crate::process::{self, Signal, wait_until_gone};
use crate::service::Service;

/// How long a service may take to end by itself: its own drain limit (`TANDEM_DRAIN_TIMEOUT`, 20 s
/// unless it was raised) and some more for its last words.
const DRAIN_LIMIT: Duration = Duration::from_secs(35);

/// How long the kernel may take to end a killed service.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Stops both services, then the replica, then the primary; returns what was running. When it returns Ok, no
/// process of the pair is left.
pub async fn halt(directory: &RunDirectory) -> anyhow::Result<Vec<&'static str>> {
    let mut stopped = Vec::new();
    let (command, query) =
        tokio::join!(end_service(directory, Service::Command), end_service(directory, Service::Query));
    for (service, was_running) in [(Service::Command, command?), (Service::Query, query?)] {
        if was_running {
            stopped.push(service.binary());
        }
    }
    // A primary's fast shutdown waits for whoever reads its WAL, so the replica goes first.
    for (name, cluster) in cluster_directories(directory.path()).into_iter().rev() {
        let data = cluster.join("data");
        if !data.exists() {
            continue;
        }
        if postmaster(&data).is_some() {
            stopped.push(name);
        }
        stop(name, &data, Mode::Fast).await?;
    }
    remove_if_there(&directory.state_file())?;
    Ok(stopped)
}

/// Asks a service to drain, waits, kills it where it does not end; whether it was running.
async fn end_service(directory: &RunDirectory, service: Service) -> anyhow::Result<bool> {
    let mut was_running = false;
    for (signal, limit) in [(Signal::TERM, DRAIN_LIMIT), (Signal::KILL, KILL_LIMIT)] {
        let Some(pid) = alive(directory, service) else { break };
        was_running = true;
        process::signal(pid, signal).with_context(|| format!("{} can't be signalled", service.binary()))?;
        if wait_until_gone(limit, || alive(directory, service).is_some()).await {
            break;
        }
    }
    ensure!(alive(directory, service).is_none(), "{} can't be stopped", service.binary());
    forget(directory, service)?;
    Ok(was_running)
}
