//! Passwords of the pair's roles: made once, kept in files that only the caller can read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rand::distr::{Alphanumeric, SampleString};
use secrecy::{ExposeSecret, SecretString};

use crate::places::{create_directory, write_atomically};

/// Letters and digits: nothing that a URL, a connection string or SQL would have to quote. 32 of them carry
/// 190 bits.
const LENGTH: usize = 32;

/// Whose password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Login {
    /// `tandem_admin` on the primary.
    PrimaryAdmin,
    /// `tandem_admin` on the replica.
    ReplicaAdmin,
    /// `tandem_command` on the primary.
    Command,
    /// `tandem_query` on the replica.
    Query,
    /// `tandem_replication` on the primary.
    Replication,
    /// `tandem_monitor` on the primary.
    Monitor,
}

impl Login {
    /// Every login there is.
    pub const ALL: [Login; 6] =
        [Login::PrimaryAdmin, Login::ReplicaAdmin, Login::Command, Login::Query, Login::Replication, Login::Monitor];

    /// The role's name in the database.
    pub fn role(self) -> &'static str {
        match self {
            Login::PrimaryAdmin | Login::ReplicaAdmin => "tandem_admin",
            Login::Command => "tandem_command",
            Login::Query => "tandem_query",
            Login::Replication => "tandem_replication",
            Login::Monitor => "tandem_monitor",
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            Login::PrimaryAdmin => "primary_admin",
            Login::ReplicaAdmin => "replica_admin",
            other => other.role(),
        }
    }
}

/// The passwords of one pair, each with its file.
#[derive(Debug, Clone)]
pub struct Passwords {
    directory: PathBuf,
    secrets: BTreeMap<Login, SecretString>,
}

impl Passwords {
    /// Reads the passwords in a directory and makes those that are missing.
    pub fn load_or_create(directory: &Path) -> anyhow::Result<Passwords> {
        create_directory(directory, 0o700)?;
        let mut secrets = BTreeMap::new();
        for login in Login::ALL {
            let path = directory.join(login.file_name());
            if !path.exists() {
                let password = Alphanumeric.sample_string(&mut rand::rng(), LENGTH);
                write_atomically(&path, password.as_bytes(), 0o600)?;
            }
            let text = fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))?;
            ensure!(!text.trim().is_empty(), "the password file {} is empty", path.display());
            secrets.insert(login, SecretString::from(text.trim()));
        }
        Ok(Passwords { directory: directory.to_owned(), secrets })
    }

    /// The file of a password, mode 0600.
    pub fn file(&self, login: Login) -> PathBuf {
        self.directory.join(login.file_name())
    }

    /// The password in the clear.
    pub fn expose(&self, login: Login) -> &str {
        self.secrets.get(&login).expect("every login has a password: they are made together").expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn passwords_are_made_once_and_only_their_owner_reads_them() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("passwords");
        let first = Passwords::load_or_create(&directory).unwrap();
        let second = Passwords::load_or_create(&directory).unwrap();
        for login in Login::ALL {
            assert_eq!(first.expose(login), second.expose(login));
            assert_eq!(first.expose(login).len(), LENGTH);
            let mode = fs::metadata(first.file(login)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_ne!(first.expose(Login::Command), first.expose(Login::Query));
    }
}
