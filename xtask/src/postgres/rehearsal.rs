//! A second pair beside one that runs, for as long as its process lives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;

use super::leash::Leash;
use super::locate::locate;
use super::pair::{Pair, PairSpec};
use super::server_user::ServerUser;
use super::test_pair::free_port;
use crate::places::create_directory;

/// Servers that nobody else knows of, on free ports. Dropping it stops them and removes their directory, and so does the
/// end of the process, in whatever way it ends.
#[derive(Debug)]
pub struct Rehearsal {
    pair: Pair,
    _leash: Leash,
}

impl Rehearsal {
    /// In a directory below that of the pair that runs, with its passwords. Nothing is made yet.
    pub fn beside(run_directory: &Path, bin_dir: &Path) -> anyhow::Result<Rehearsal> {
        let user = ServerUser::of_this_process()?;
        let installation = locate(Some(bin_dir), &user, run_directory)?;
        let directory = tempfile::Builder::new().prefix("rehearsal-").tempdir_in(run_directory)?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let directory = directory.keep().canonicalize()?;
        let leash = Leash::tie(&directory).context("/bin/sh can't be run")?;
        let passwords = directory.join("passwords");
        create_directory(&passwords, 0o700)?;
        for entry in fs::read_dir(run_directory.join("passwords"))? {
            let entry = entry?;
            // With its mode.
            fs::copy(entry.path(), passwords.join(entry.file_name()))?;
        }
        let pair = Pair::new(PairSpec {
            directory,
            installation,
            user,
            primary_port: free_port()?,
            replica_ports: vec![free_port()?],
            durable: true,
            primary_settings: Vec::new(),
            replica_settings: Vec::new(),
        })?;
        Ok(Rehearsal { pair, _leash: leash })
    }

    /// Its servers.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }
}
