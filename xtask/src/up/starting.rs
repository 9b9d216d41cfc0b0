//! The steps from a directory to a running pair, one line printed for each.

use std::time::Instant;

use super::Args;
use crate::places::RunDirectory;
use crate::postgres::{Cluster, Pair, PairSpec, READY_LIMIT, ReplicaNumber, ServerUser, locate, wait_until_ready};
use crate::running::{Interrupt, Ports, RunState, ServiceProcess};
use crate::service::{Binaries, Instance, serve_environment};
use crate::terminal::done;

/// A pair whose services are healthy.
pub(super) struct Started {
    pub pair: Pair,
    pub state: RunState,
    pub services: Vec<ServiceProcess>,
}

/// Starts everything. On an error some of it may be running: the caller stops it.
pub(super) async fn start(
    args: &Args,
    directory: &RunDirectory,
    ports: &Ports,
    interrupt: &Interrupt,
) -> anyhow::Result<Started> {
    let since = Instant::now();
    let user = ServerUser::of_this_process()?;
    let installation = locate(args.postgres.pg_bin.as_deref(), &user, directory.path())?;
    done(&installation.to_string(), since);
    interrupt.check()?;

    let since = Instant::now();
    let binaries = interrupt.or(Binaries::build(args.release)).await??;
    done("services built", since);

    let pair = Pair::new(PairSpec {
        directory: directory.path().to_owned(),
        installation: installation.clone(),
        user,
        primary_port: ports.primary(),
        replica_ports: ports.replicas(),
        durable: true,
        primary_settings: Vec::new(),
        replica_settings: Vec::new(),
    })?;
    for cluster in pair.clusters() {
        interrupt.check()?;
        bring_up(cluster).await?;
    }
    for instance in pair.services() {
        let since = Instant::now();
        interrupt.or(pair.migrate(&binaries, instance)).await??;
        done(&format!("{} migrate{}", instance.service().binary(), of_further(instance)), since);
    }
    for (number, replica) in pair.replicas() {
        let since = Instant::now();
        let tables = interrupt.or(wait_until_ready(replica, READY_LIMIT)).await??;
        done(&format!("replication{}: {tables} tables ready", of_further(Instance::Query(number))), since);
    }
    let services = serve(&pair, &binaries, directory, ports, interrupt).await?;
    let state = RunState::of(&pair, &installation, ports);
    state.save(&directory.state_file())?;
    Ok(Started { pair, state, services })
}

/// Starts every service, and returns when all are healthy.
async fn serve(
    pair: &Pair,
    binaries: &Binaries,
    directory: &RunDirectory,
    ports: &Ports,
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<ServiceProcess>> {
    let since = Instant::now();
    let start = |instance| {
        let environment = serve_environment(pair, instance, ports.service(instance), ports.metrics(instance));
        ServiceProcess::start(directory, binaries, instance, &environment)
    };
    let mut services = pair.services().map(start).collect::<anyhow::Result<Vec<_>>>()?;
    for service in &mut services {
        let address = ports.service(service.instance());
        interrupt.or(service.wait_until_healthy(address)).await??;
        done(&format!("{} on {address}", service.instance().service().binary()), since);
    }
    Ok(services)
}

/// Of which replica, where it is not the first.
fn of_further(instance: Instance) -> String {
    match instance {
        Instance::Query(number) if number != ReplicaNumber::FIRST => format!(" of {}", number.name()),
        Instance::Command | Instance::Query(_) => String::new(),
    }
}

/// Makes a cluster where it is missing, and starts it.
async fn bring_up(cluster: &Cluster) -> anyhow::Result<()> {
    let since = Instant::now();
    let made = if cluster.create().await? { ", made now" } else { "" };
    cluster.start().await?;
    cluster.create_database().await?;
    done(&format!("{} {} on {}{made}", cluster.name(), cluster.installation().version, cluster.port()), since);
    Ok(())
}
