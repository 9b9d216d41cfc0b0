//! What later commands know of the running pair without flags: a JSON file in the run directory.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::ports::Ports;
use super::processes::alive;
use crate::places::{RunDirectory, write_atomically};
use crate::postgres::{Cluster, Installation, Pair, postmaster};
use crate::seed::DEFAULT_CURRENCY;
use crate::service::Service;

/// The pair as `up` started it. The file is there from when both services are healthy until `down`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunState {
    /// Which PostgreSQL runs both clusters.
    pub postgres: PostgresState,
    /// Where sales are written.
    pub primary: SideState,
    /// Where sales are read.
    pub replica: SideState,
    /// `host:port` of the command service.
    pub command_address: String,
    /// `host:port` of the query service.
    pub query_address: String,
    /// `host:port` of the command service's Prometheus metrics.
    pub command_metrics_address: String,
    /// `host:port` of the query service's Prometheus metrics.
    pub query_metrics_address: String,
    /// The one currency of its services; what they default to where an older xtask has not written it down.
    #[serde(default = "currency")]
    pub currency: String,
}

/// The currency that a service started by this process takes: it inherits the variable.
fn currency() -> String {
    env::var("TANDEM_CURRENCY").unwrap_or_else(|_| DEFAULT_CURRENCY.to_owned())
}

/// Which PostgreSQL runs both clusters.
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
        RunState {
            postgres: PostgresState {
                version: installation.version.to_string(),
                bin_dir: installation.bin_dir.clone(),
            },
            primary: side(pair.primary()),
            replica: side(pair.replica()),
            command_address: ports.command().to_string(),
            query_address: ports.query().to_string(),
            command_metrics_address: ports.command_metrics().to_string(),
            query_metrics_address: ports.query_metrics().to_string(),
            currency: currency(),
        }
    }

    /// Writes it down, readable by the caller alone: it holds passwords.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_atomically(path, &text, 0o600).map(drop)
    }

    /// Whether both servers and both services are alive.
    pub fn runs(&self, directory: &RunDirectory) -> bool {
        postmaster(&self.primary.data_directory).is_some()
            && postmaster(&self.replica.data_directory).is_some()
            && Service::BOTH.into_iter().all(|service| alive(directory, service).is_some())
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
}
