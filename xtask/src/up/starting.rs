//! The steps from a directory to a running pair, one line printed for each.

use std::time::Instant;

use super::Args;
use crate::places::RunDirectory;
use crate::postgres::{Cluster, Pair, PairSpec, READY_LIMIT, ServerUser, locate, wait_until_ready};
use crate::running::{Interrupt, Ports, RunState, ServiceProcess};
use crate::service::{Binaries, Service, serve_environment};
use crate::terminal::done;

/// A pair whose services are healthy.
pub(super) struct Started {
    pub pair: Pair,
    pub state: RunState,
    pub command: ServiceProcess,
    pub query: ServiceProcess,
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
        replica_port: ports.replica(),
        durable: true,
        primary_settings: Vec::new(),
        replica_settings: Vec::new(),
    })?;
    for cluster in [pair.primary(), pair.replica()] {
        interrupt.check()?;
        bring_up(cluster).await?;
    }
    for service in Service::BOTH {
        let since = Instant::now();
        interrupt.or(pair.migrate(&binaries, service)).await??;
        done(&format!("{} migrate", service.binary()), since);
    }
    let since = Instant::now();
    let tables = interrupt.or(wait_until_ready(pair.replica(), READY_LIMIT)).await??;
    done(&format!("replication: {tables} tables ready"), since);

    let serve = |service, listen, metrics| {
        let environment = serve_environment(&pair, service, listen, metrics);
        ServiceProcess::start(directory, &binaries, service, &environment)
    };
    let since = Instant::now();
    let mut command = serve(Service::Command, ports.command(), ports.command_metrics())?;
    let mut query = serve(Service::Query, ports.query(), ports.query_metrics())?;
    interrupt.or(command.wait_until_healthy(ports.command())).await??;
    done(&format!("{} on {}", Service::Command.binary(), ports.command()), since);
    interrupt.or(query.wait_until_healthy(ports.query())).await??;
    done(&format!("{} on {}", Service::Query.binary(), ports.query()), since);

    let state = RunState::of(&pair, &installation, ports);
    state.save(&directory.state_file())?;
    Ok(Started { pair, state, command, query })
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
