//! Ends everything of a pair by what is on disk, whoever started it and however that ended.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::join_all;

use super::processes::{alive, forget};
use crate::places::{RunDirectory, remove_if_there};
use crate::postgres::{Mode, cluster_directories, postmaster, stop};
use crate::process::{self, Signal, wait_until_gone};
use crate::service::Instance;

/// How long a service may take to end by itself: its own drain limit (`TANDEM_DRAIN_TIMEOUT`, 20 s
/// unless it was raised) and some more for its last words.
const DRAIN_LIMIT: Duration = Duration::from_secs(35);

/// How long the kernel may take to end a killed service.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Stops the services, then the replicas, then the primary; returns what was running. When it returns Ok, no
/// process of the pair is left.
pub async fn halt(directory: &RunDirectory) -> anyhow::Result<Vec<String>> {
    let mut stopped = Vec::new();
    let ends = Instance::all().map(|instance| async move { (instance, end_service(directory, instance).await) });
    for (instance, was_running) in join_all(ends).await {
        if was_running? {
            stopped.push(instance.label());
        }
    }
    // A primary's fast shutdown waits for whoever reads its WAL, so the replicas go first.
    for (name, cluster) in cluster_directories(directory.path()).into_iter().rev() {
        let data = cluster.join("data");
        if !data.exists() {
            continue;
        }
        if postmaster(&data).is_some() {
            stopped.push(name.to_owned());
        }
        stop(name, &data, Mode::Fast).await?;
    }
    remove_if_there(&directory.state_file())?;
    Ok(stopped)
}

/// Asks a service to drain, waits, kills it where it does not end; whether it was running.
async fn end_service(directory: &RunDirectory, instance: Instance) -> anyhow::Result<bool> {
    let mut was_running = false;
    for (signal, limit) in [(Signal::TERM, DRAIN_LIMIT), (Signal::KILL, KILL_LIMIT)] {
        let Some(pid) = alive(directory, instance) else { break };
        was_running = true;
        process::signal(pid, signal).with_context(|| format!("{} can't be signalled", instance.label()))?;
        if wait_until_gone(limit, || alive(directory, instance).is_some()).await {
            break;
        }
    }
    ensure!(alive(directory, instance).is_none(), "{} can't be stopped", instance.label());
    forget(directory, instance)?;
    Ok(was_running)
}
