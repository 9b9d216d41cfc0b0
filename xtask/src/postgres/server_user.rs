//! Who PostgreSQL runs as. It refuses to run as root, so root hands it to an unprivileged user.

use std::env;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{chown, fchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Tried in this order: `postgres` comes with the packages, `nobody` is everywhere.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// The user that owns the data directories and runs the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerUser {
    /// Whoever called us, since that is not root.
    Caller,
    /// An unprivileged user that root hands the servers to.
    Other {
        /// Its name, for messages.
        name: String,
        /// Its user id.
        uid: u32,
        /// Its primary group.
        gid: u32,
    },
}

impl ServerUser {
    /// The caller, or for root the first of `postgres` and `nobody` that exists.
    pub fn of_this_process() -> anyhow::Result<ServerUser> {
        if !rustix::process::geteuid().is_root() {
            return Ok(ServerUser::Caller);
        }
        for name in CANDIDATES {
            if let (Some(uid), Some(gid)) = (id("-u", name)?, id("-g", name)?) {
                return Ok(ServerUser::Other { name: name.to_owned(), uid, gid });
            }
        }
        bail!("PostgreSQL does not run as root, and there is neither a user postgres nor nobody: call as another user");
    }

    /// A command that runs as this user, away from the caller's directory and free of the caller's `PG*`
    /// variables, which would redirect it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        if let ServerUser::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Whether this user reaches a directory. Tried, not computed: groups and access lists count as well.
    pub fn can_enter(&self, directory: &Path) -> bool {
        if *self == ServerUser::Caller {
            return true;
        }
        let Some(existing) = directory.ancestors().find(|ancestor| ancestor.exists()) else { return false };
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", "cd -- \"$1\"", "sh"]).arg(existing).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Hands a file or directory to this user.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        match self {
            ServerUser::Caller => Ok(()),
            ServerUser::Other { uid, gid, .. } => chown(path, Some(*uid), Some(*gid)),
        }
    }

    /// Hands an open file to this user.
    pub fn own_file(&self, file: &File) -> io::Result<()> {
        match self {
            ServerUser::Caller => Ok(()),
            ServerUser::Other { uid, gid, .. } => fchown(file, Some(*uid), Some(*gid)),
        }
    }
}

impl fmt::Display for ServerUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerUser::Caller => formatter.write_str("the calling user"),
            ServerUser::Other { name, .. } => write!(formatter, "the user {name}"),
        }
    }
}

/// One number of a user as `id` tells it; `None` when there is no such user.
fn id(flag: &str, name: &str) -> anyhow::Result<Option<u32>> {
    let output = Command::new("id").args([flag, name]).output().context("the program id can't be run")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok().filter(|_| output.status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_does_not_inherit_where_the_caller_points_libpq() {
        let command = ServerUser::Caller.command(Path::new("true"));
        let kept =
            command.get_envs().filter(|(name, value)| name.as_encoded_bytes().starts_with(b"PG") && value.is_some());
        assert_eq!(kept.count(), 0);
    }

    #[test]
    fn servers_never_run_as_root() {
        let user = ServerUser::of_this_process().unwrap();
        let output = user.command(Path::new("id")).arg("-u").output().unwrap();
        assert_ne!(String::from_utf8_lossy(&output.stdout).trim(), "0");
    }
}
