//! What later commands know of the running pair without flags: a JSON file in the run directory.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::ports::Ports;
use super::processes::alive;
use crate::places::{RunDirectory, write_atomically};
use crate::postgres::{Cluster, Installation, Pair, ReplicaNumber, postmaster};
use crate::seed::DEFAULT_CURRENCY;
use crate::service::Instance;

/// The pair as `up` started it. The file is there from when all services are healthy until `down`. The first replica
/// stands where it stood when there was no other; [`RunState::replicas`] gives all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunState {
    /// Which PostgreSQL runs the clusters.
    pub postgres: PostgresState,
    /// Where sales are written.
    pub primary: SideState,
    /// Where sales are read: the first replica.
    pub replica: SideState,
    /// `host:port` of the command service.
    pub command_address: String,
    /// `host:port` of the first replica's query service.
    pub query_address: String,
    /// `host:port` of the command service's Prometheus metrics.
    pub command_metrics_address: String,
    /// `host:port` of its Prometheus metrics.
    pub query_metrics_address: String,
    /// The one currency of its services; what they default to where an older xtask has not written it down.
    #[serde(default = "currency")]
    pub currency: String,
    /// The replicas beside the first.
    #[serde(default)]
    pub further_replicas: Vec<ReplicaState>,
}

/// A replica and its query service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplicaState {
    /// Which one.
    pub number: ReplicaNumber,
    /// Its cluster.
    pub server: SideState,
    /// `host:port` of its query service.
    pub query_address: String,
    /// `host:port` of that service's Prometheus metrics.
    pub query_metrics_address: String,
}

/// The currency that a service started by this process takes: it inherits the variable.
fn currency() -> String {
    env::var("TANDEM_CURRENCY").unwrap_or_else(|_| DEFAULT_CURRENCY.to_owned())
}

/// Which PostgreSQL runs the clusters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PostgresState {
    /// Such as `15.18`.
    pub version: String,
    /// Where its programs are.
    pub bin_dir: PathBuf,
}

/// One cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SideState {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// The superuser's URL of the pair's database, password included.
    pub admin_url: String,
    /// `PGDATA`.
    pub data_directory: PathBuf,
}

/// Why nothing is known of a running pair.
#[derive(Debug, Error)]
pub enum RunStateError {
    /// `up` was never run here, or `down` was.
    #[error("no pair is running here: start one with `cargo xtask up`")]
    NotRunning,
    /// The run directory can't be found.
    #[error("the run directory can't be found")]
    NoRunDirectory(#[source] anyhow::Error),
    /// The file is there and can't be read.
    #[error("{} can't be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is of another version of xtask, or damaged.
    #[error("{} is not understood: `cargo xtask down` and `cargo xtask up` write it anew", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
}

impl RunState {
    /// What `up` wrote down. The processes may have died since: [`RunState::runs`] looks.
    pub fn load() -> Result<RunState, RunStateError> {
        let directory = RunDirectory::open().map_err(RunStateError::NoRunDirectory)?;
        RunState::load_from(&directory.state_file())
    }

    /// The same from a given file.
    pub fn load_from(path: &Path) -> Result<RunState, RunStateError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RunStateError::NotRunning),
            Err(source) => return Err(RunStateError::Unreadable { path: path.to_owned(), source }),
        };
        serde_json::from_slice(&text).map_err(|source| RunStateError::Malformed { path: path.to_owned(), source })
    }

    /// Describes a pair and the ports of its services.
    pub fn of(pair: &Pair, installation: &Installation, ports: &Ports) -> RunState {
        let side = |cluster: &Cluster| SideState {
            port: cluster.port(),
            admin_url: cluster.admin_url(),
            data_directory: cluster.data_directory(),
        };
        let mut replicas = pair.replicas().map(|(number, cluster)| ReplicaState {
            number,
            server: side(cluster),
            query_address: ports.service(Instance::Query(number)).to_string(),
            query_metrics_address: ports.metrics(Instance::Query(number)).to_string(),
        });
        let first = replicas.next().expect("a pair has at least one replica");
        RunState {
            postgres: PostgresState {
                version: installation.version.to_string(),
                bin_dir: installation.bin_dir.clone(),
            },
            primary: side(pair.primary()),
            replica: first.server,
            command_address: ports.service(Instance::Command).to_string(),
            query_address: first.query_address,
            command_metrics_address: ports.metrics(Instance::Command).to_string(),
            query_metrics_address: first.query_metrics_address,
            currency: currency(),
            further_replicas: replicas.collect(),
        }
    }

    /// Every replica, the first one first.
    pub fn replicas(&self) -> Vec<ReplicaState> {
        let first = ReplicaState {
            number: ReplicaNumber::FIRST,
            server: self.replica.clone(),
            query_address: self.query_address.clone(),
            query_metrics_address: self.query_metrics_address.clone(),
        };
        std::iter::once(first).chain(self.further_replicas.iter().cloned()).collect()
    }

    /// One replica; an error that says which there are, where there is none of this number.
    pub fn replica_of(&self, number: ReplicaNumber) -> anyhow::Result<ReplicaState> {
        let mut replicas = self.replicas();
        let count = replicas.len();
        let found = replicas.iter().position(|replica| replica.number == number);
        found.map(|place| replicas.swap_remove(place)).with_context(|| {
            let there = if count == 1 { "one replica".to_owned() } else { format!("{count} replicas") };
            format!(
                "the running pair has {there}, and no {}: `cargo xtask down`, then `cargo xtask up --replicas {number}`",
                number.name()
            )
        })
    }

    /// Writes it down, readable by the caller alone: it holds passwords.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_atomically(path, &text, 0o600).map(drop)
    }

    /// Whether every server and every service is alive.
    pub fn runs(&self, directory: &RunDirectory) -> bool {
        let runs = |replica: &ReplicaState| {
            postmaster(&replica.server.data_directory).is_some()
                && alive(directory, Instance::Query(replica.number)).is_some()
        };
        postmaster(&self.primary.data_directory).is_some()
            && alive(directory, Instance::Command).is_some()
            && self.replicas().iter().all(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_means_that_no_pair_runs_and_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let error = RunState::load_from(&directory.path().join("state.json")).unwrap_err();
        assert!(matches!(error, RunStateError::NotRunning));
        assert!(error.to_string().contains("cargo xtask up"));
    }

    #[test]
    fn a_damaged_file_is_an_error_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        fs::write(&path, "{").unwrap();
        assert!(matches!(RunState::load_from(&path), Err(RunStateError::Malformed { .. })));
    }

    /// As it was written before there could be a second replica.
    const OF_ONE_REPLICA: &str = r#"{
        "postgres": {"version": "15.18", "bin_dir": "/bin"},
        "primary": {"port": 1, "admin_url": "postgres://p", "data_directory": "/p"},
        "replica": {"port": 2, "admin_url": "postgres://r", "data_directory": "/r"},
        "command_address": "127.0.0.1:3", "query_address": "127.0.0.1:4",
        "command_metrics_address": "127.0.0.1:5", "query_metrics_address": "127.0.0.1:6", "currency": "USD"
    }"#;

    #[test]
    fn a_file_from_before_there_were_several_replicas_has_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        fs::write(&path, OF_ONE_REPLICA).unwrap();
        let state = RunState::load_from(&path).unwrap();
        let replicas = state.replicas();
        assert_eq!((replicas.len(), replicas[0].number, replicas[0].server.port), (1, ReplicaNumber::FIRST, 2));
        assert_eq!(replicas[0].query_address, "127.0.0.1:4");
        let second = ReplicaNumber::new(2).unwrap();
        let error = state.replica_of(second).unwrap_err().to_string();
        assert!(error.contains("one replica") && error.contains("up --replicas 2"), "{error}");
    }

    #[test]
    fn what_is_written_of_several_replicas_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let mut state: RunState = serde_json::from_str(OF_ONE_REPLICA).unwrap();
        let second = ReplicaNumber::new(2).unwrap();
        state.further_replicas.push(ReplicaState {
            number: second,
            query_address: "127.0.0.1:14".to_owned(),
            ..state.replica_of(ReplicaNumber::FIRST).unwrap()
        });
        state.save(&path).unwrap();
        let read = RunState::load_from(&path).unwrap();
        assert_eq!(read.replica_of(second).unwrap().query_address, "127.0.0.1:14");
        assert_eq!(read.replica_of(ReplicaNumber::FIRST).unwrap().query_address, "127.0.0.1:4");
    }
}
