//! A primary and its replicas with the passwords of every role.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use secrecy::SecretString;

use super::cluster::{Cluster, ClusterSpec};
use super::locate::Installation;
use super::passwords::{Login, Passwords};
use super::replica_number::ReplicaNumber;
use super::server_user::ServerUser;
use super::stop::Mode;
use crate::service::{Binaries, Instance, give_environment, migrate_environment};

/// What makes one pair differ from another.
#[derive(Debug, Clone)]
pub struct PairSpec {
    /// Holds the clusters and the passwords.
    pub directory: PathBuf,
    /// Which PostgreSQL runs them.
    pub installation: Installation,
    /// Who runs them.
    pub user: ServerUser,
    /// The primary's port on 127.0.0.1.
    pub primary_port: u16,
    /// The port of each replica on 127.0.0.1, the first one's first; as many as there are to be, at least one.
    pub replica_ports: Vec<u16>,
    /// Whether commits survive a power cut.
    pub durable: bool,
    /// Further settings of the primary.
    pub primary_settings: Vec<(String, String)>,
    /// Further settings of each replica.
    pub replica_settings: Vec<(String, String)>,
}

/// A primary and its replicas on disk, running or not. The handle can be dropped without stopping anything.
#[derive(Debug, Clone)]
pub struct Pair {
    primary: Cluster,
    replicas: Vec<Cluster>,
    passwords: Passwords,
}

/// The directory of a primary whose replica has taken its place: kept, and never started.
pub const DEMOTED: &str = "demoted";

/// The directories of the clusters below a pair's directory, the primary's first; those of replicas that were never
/// made are among them.
pub fn cluster_directories(directory: &Path) -> Vec<(&'static str, PathBuf)> {
    let names = std::iter::once("primary").chain(ReplicaNumber::all().map(ReplicaNumber::cluster));
    names.map(|name| (name, directory.join(name))).collect()
}

/// How many replicas a pair's directory holds, by the last one; 0 where it holds none.
pub fn replicas_on_disk(directory: &Path) -> u8 {
    let there = |number: &ReplicaNumber| directory.join(number.cluster()).join("data").exists();
    ReplicaNumber::all().rev().find(there).map_or(0, ReplicaNumber::get)
}

impl Pair {
    /// A handle; passwords are read, or made where they are missing.
    pub fn new(spec: PairSpec) -> anyhow::Result<Pair> {
        ensure!(!spec.replica_ports.is_empty(), "a pair has at least one replica");
        let passwords = Passwords::load_or_create(&spec.directory.join("passwords"))?;
        let cluster = |name: &'static str, port, login, settings: &[(String, String)]| {
            Cluster::new(ClusterSpec {
                name,
                directory: spec.directory.join(name),
                port,
                installation: spec.installation.clone(),
                user: spec.user.clone(),
                admin_password: SecretString::from(passwords.expose(login)),
                durable: spec.durable,
                settings: settings.to_vec(),
            })
        };
        let replica = |(number, port): (ReplicaNumber, &u16)| {
            cluster(number.cluster(), *port, Login::ReplicaAdmin, &spec.replica_settings)
        };
        Ok(Pair {
            primary: cluster("primary", spec.primary_port, Login::PrimaryAdmin, &spec.primary_settings),
            replicas: ReplicaNumber::all().zip(&spec.replica_ports).map(replica).collect(),
            passwords,
        })
    }

    /// Where sales are written.
    pub fn primary(&self) -> &Cluster {
        &self.primary
    }

    /// Where sales are read: the first replica.
    pub fn replica(&self) -> &Cluster {
        &self.replicas[ReplicaNumber::FIRST.index()]
    }

    /// One replica of those that the pair was made with.
    pub fn replica_of(&self, number: ReplicaNumber) -> &Cluster {
        &self.replicas[number.index()]
    }

    /// Every replica with its number.
    pub fn replicas(&self) -> impl Iterator<Item = (ReplicaNumber, &Cluster)> {
        ReplicaNumber::all().zip(&self.replicas)
    }

    /// The primary, and then every replica.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        std::iter::once(&self.primary).chain(&self.replicas)
    }

    /// Every service, in the order in which they migrate and start.
    pub fn services(&self) -> impl Iterator<Item = Instance> {
        std::iter::once(Instance::Command).chain(self.replicas().map(|(number, _)| Instance::Query(number)))
    }

    /// The passwords of every role.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// The URL of the pair's database for one role, on the side that knows the role; of replicas, the first.
    pub fn url(&self, login: Login) -> String {
        let cluster = match login {
            Login::ReplicaAdmin | Login::Query => self.replica(),
            Login::PrimaryAdmin | Login::Command | Login::Replication | Login::Monitor => self.primary(),
        };
        cluster.url(login.role(), self.passwords.expose(login), super::cluster::DATABASE)
    }

    /// Runs `migrate` of one service. It can be run again at any time.
    pub async fn migrate(&self, binaries: &Binaries, service: impl Into<Instance>) -> anyhow::Result<()> {
        let instance = service.into();
        let service = instance.service();
        let mut command = std::process::Command::new(binaries.path(service));
        command.arg("migrate");
        give_environment(&mut command, &migrate_environment(self, instance));
        let output = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("{} can't be run", binaries.path(service).display()))?;
        ensure!(
            output.status.success(),
            "{} migrate failed ({}):\n{}{}",
            instance.label(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Stops all, the replicas first: a primary's fast shutdown waits for whoever reads its WAL. Each is tried, and the
    /// first failure is told.
    pub async fn stop(&self, mode: Mode) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for cluster in self.replicas.iter().chain([&self.primary]) {
            outcome = outcome.and(cluster.stop(mode).await);
        }
        outcome
    }
}
