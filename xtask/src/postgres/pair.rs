//! A primary and a replica with the passwords of every role.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use secrecy::SecretString;

use super::cluster::{Cluster, ClusterSpec};
use super::locate::Installation;
use super::passwords::{Login, Passwords};
use super::server_user::ServerUser;
use super::stop::Mode;
use crate::service::{Binaries, Service, give_environment, migrate_environment};

/// What makes one pair differ from another.
#[derive(Debug, Clone)]
pub struct PairSpec {
    /// Holds both clusters and the passwords.
    pub directory: PathBuf,
    /// Which PostgreSQL runs both.
    pub installation: Installation,
    /// Who runs both.
    pub user: ServerUser,
    /// The primary's port on 127.0.0.1.
    pub primary_port: u16,
    /// The replica's port on 127.0.0.1.
    pub replica_port: u16,
    /// Whether commits survive a power cut.
    pub durable: bool,
    /// Further settings of the primary.
    pub primary_settings: Vec<(String, String)>,
    /// Further settings of the replica.
    pub replica_settings: Vec<(String, String)>,
}

/// A primary and a replica on disk, running or not. The handle can be dropped without stopping anything.
#[derive(Debug, Clone)]
pub struct Pair {
    primary: Cluster,
    replica: Cluster,
    passwords: Passwords,
}

/// The directories of the clusters below a pair's directory.
pub fn cluster_directories(directory: &Path) -> [(&'static str, PathBuf); 2] {
    ["primary", "replica"].map(|name| (name, directory.join(name)))
}

impl Pair {
    /// A handle; passwords are read, or made where they are missing.
    pub fn new(spec: PairSpec) -> anyhow::Result<Pair> {
        let passwords = Passwords::load_or_create(&spec.directory.join("passwords"))?;
        let [primary, replica] = cluster_directories(&spec.directory);
        let cluster = |(name, directory), port, login, settings| {
            Cluster::new(ClusterSpec {
                name,
                directory,
                port,
                installation: spec.installation.clone(),
                user: spec.user.clone(),
                admin_password: SecretString::from(passwords.expose(login)),
                durable: spec.durable,
                settings,
            })
        };
        Ok(Pair {
            primary: cluster(primary, spec.primary_port, Login::PrimaryAdmin, spec.primary_settings),
            replica: cluster(replica, spec.replica_port, Login::ReplicaAdmin, spec.replica_settings),
            passwords,
        })
    }

    /// Where sales are written.
    pub fn primary(&self) -> &Cluster {
        &self.primary
    }

    /// Where sales are read.
    pub fn replica(&self) -> &Cluster {
        &self.replica
    }

    /// The passwords of every role.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// The URL of the pair's database for one role, on the side that knows the role.
    pub fn url(&self, login: Login) -> String {
        let cluster = match login {
            Login::ReplicaAdmin | Login::Query => &self.replica,
            Login::PrimaryAdmin | Login::Command | Login::Replication | Login::Monitor => &self.primary,
        };
        cluster.url(login.role(), self.passwords.expose(login), super::cluster::DATABASE)
    }

    /// Runs `migrate` of one service. It can be run again at any time.
    pub async fn migrate(&self, binaries: &Binaries, service: Service) -> anyhow::Result<()> {
        let mut command = std::process::Command::new(binaries.path(service));
        command.arg("migrate");
        give_environment(&mut command, &migrate_environment(self, service));
        let output = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("{} can't be run", binaries.path(service).display()))?;
        ensure!(
            output.status.success(),
            "{} migrate failed ({}):\n{}{}",
            service.binary(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Stops both, the replica first: a primary's fast shutdown waits for whoever reads its WAL.
    pub async fn stop(&self, mode: Mode) -> anyhow::Result<()> {
        let replica = self.replica.stop(mode).await;
        let primary = self.primary.stop(mode).await;
        replica.and(primary)
    }
}
