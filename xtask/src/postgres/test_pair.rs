//! A pair for one test: in a directory of its own, on free ports, gone with the test.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rand::RngExt;
use tokio::sync::OnceCell;

use super::cluster::Cluster;
use super::leash::Leash;
use super::locate::{Installation, locate};
use super::pair::{Pair, PairSpec};
use super::replica_number::ReplicaNumber;
use super::server_user::ServerUser;
use super::subscription::{READY_LIMIT, wait_until_ready};
use crate::places::RunDirectory;
use crate::service::{Binaries, Environment, Instance, serve_environment};

/// Names the bin directory that the tests use: `cargo xtask test` sets it, so that all agree.
pub const PG_BIN_VARIABLE: &str = "TANDEM_PG_BIN";

/// Ports are taken from below the range that the system hands out by itself, so that nobody gets the port of
/// a server that a test has stopped for a while.
const PORTS: std::ops::Range<u16> = 17_000..32_000;

/// How many ports are tried before a start fails. Each test takes few of 15,000, so one or two do.
const PORT_ATTEMPTS: usize = 20;

/// How a test wants its pair.
#[derive(Debug, Clone, Default)]
pub struct TestOptions {
    /// Whether commits survive a power cut. Off by default, which is fast; a killed server loses nothing
    /// either way.
    pub durable: bool,
    /// Further settings of the primary: `("max_slot_wal_keep_size", "64MB")`.
    pub primary_settings: Vec<(String, String)>,
    /// Further settings of each replica.
    pub replica_settings: Vec<(String, String)>,
    /// Replicas beside the first.
    pub further_replicas: u8,
}

/// A running pair for a test; a [`Pair`] in every other respect. Dropping it stops its servers and removes
/// the directory, and so does the end of the process, in whatever way it ends.
#[derive(Debug)]
pub struct TestPair {
    pair: Pair,
    directory: PathBuf,
    _leash: Leash,
}

impl TestPair {
    /// A migrated pair whose tables are all ready.
    pub async fn start(options: TestOptions) -> anyhow::Result<TestPair> {
        let pair = TestPair::bare(options).await?;
        let binaries = binaries().await?;
        for instance in pair.services() {
            pair.migrate(binaries, instance).await?;
        }
        for (_, replica) in pair.replicas() {
            wait_until_ready(replica, READY_LIMIT).await?;
        }
        Ok(pair)
    }

    /// Running servers with an empty database `tandem` each: no role, schema or subscription.
    pub async fn bare(options: TestOptions) -> anyhow::Result<TestPair> {
        let user = ServerUser::of_this_process()?;
        let installation = installation(&user)?;
        let directory = reachable_directory(&user)?;
        let leash = Leash::tie(&directory).context("/bin/sh can't be run")?;
        let replicas = ReplicaNumber::first(options.further_replicas.saturating_add(1));
        let mut attempt = 0;
        let pair = loop {
            attempt += 1;
            let pair = Pair::new(PairSpec {
                directory: directory.clone(),
                installation: installation.clone(),
                user: user.clone(),
                primary_port: free_port()?,
                replica_ports: replicas.clone().map(|_| free_port()).collect::<anyhow::Result<_>>()?,
                durable: options.durable,
                primary_settings: options.primary_settings.clone(),
                replica_settings: options.replica_settings.clone(),
            })?;
            // All to their end: a start that is dropped half-way leaves a server that nobody knows of.
            let started = futures::future::join_all(pair.clusters().map(bring_up)).await;
            match started.into_iter().collect::<anyhow::Result<()>>() {
                Ok(()) => break pair,
                // Another process took a port between our look and the server's start.
                Err(error) if attempt < PORT_ATTEMPTS && format!("{error:#}").contains("Address already in use") => {
                    pair.stop(super::stop::Mode::Immediate).await?;
                }
                Err(error) => return Err(error),
            }
        };
        Ok(TestPair { pair, directory, _leash: leash })
    }

    /// Everything of this pair lies here.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The environment in which a service's `serve` uses this pair.
    pub fn serve_environment(
        &self,
        service: impl Into<Instance>,
        listen: SocketAddr,
        metrics: SocketAddr,
    ) -> Environment {
        serve_environment(&self.pair, service.into(), listen, metrics)
    }
}

impl Deref for TestPair {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        &self.pair
    }
}

/// The PostgreSQL of the tests: `TANDEM_PG_BIN`, else what is found.
pub fn installation(user: &ServerUser) -> anyhow::Result<Installation> {
    let asked = std::env::var_os(PG_BIN_VARIABLE).map(PathBuf::from);
    Ok(locate(asked.as_deref(), user, RunDirectory::open()?.path())?)
}

/// A port on 127.0.0.1 that nobody listens on.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..PORT_ATTEMPTS {
        let port = rand::rng().random_range(PORTS);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port among {PORT_ATTEMPTS} between {} and {}", PORTS.start, PORTS.end);
}

async fn bring_up(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.create().await?;
    cluster.start().await?;
    cluster.create_database().await
}

/// Builds the services once a process, unless they are named.
async fn binaries() -> anyhow::Result<&'static Binaries> {
    static BUILT: OnceCell<Binaries> = OnceCell::const_new();
    BUILT.get_or_try_init(Binaries::from_environment).await
}

/// A new directory that the server's user reaches, without symbolic links in its path.
fn reachable_directory(user: &ServerUser) -> anyhow::Result<PathBuf> {
    let candidates = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    let parent = candidates.iter().find(|path| path.is_dir() && user.can_enter(path));
    let parent = parent.with_context(|| format!("{user} reaches no directory for temporary files"))?;
    let directory = tempfile::Builder::new().prefix("tandem-test-").tempdir_in(parent)?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory.keep().canonicalize()?)
}
