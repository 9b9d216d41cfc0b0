//! Where things are: the workspace, cargo's build directory, and the run directory that holds the pair.
//!
//! The run directory is `<build directory>/tandem`. Where the caller is root and the unprivileged user that
//! runs PostgreSQL can't reach it (a clone under a closed home directory), it is a directory under `/var/tmp`
//! instead, named from a hash of the build directory.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::cargo;
use crate::postgres::ServerUser;
use crate::terminal;

/// The directory of the workspace's `Cargo.toml`.
pub fn workspace_root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    let root = manifest.ancestors().find(|directory| directory.join("Cargo.lock").exists());
    root.unwrap_or(&manifest).to_owned()
}

/// Cargo's build directory (`target`, or what the configuration says), absolute and without symbolic links.
pub fn build_directory() -> anyhow::Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }

    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let output = cargo::command()
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(workspace_root())
        .output()
        .context("cargo can't be run: is it on the PATH?")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata can't be read")?;
    create_directory(&metadata.target_directory, 0o755)?;
    let directory = metadata.target_directory.canonicalize()?;
    Ok(FOUND.get_or_init(|| directory).clone())
}

/// Moves the pair out of the build directory: with ports of its own, a second pair runs beside the first.
const RUN_DIRECTORY_VARIABLE: &str = "TANDEM_RUN_DIRECTORY";

/// The directory that holds the pair: its data, passwords, logs, state.
#[derive(Debug, Clone)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// Finds the run directory, and makes it where it is missing.
    pub fn open() -> anyhow::Result<RunDirectory> {
        let user = ServerUser::of_this_process()?;
        if let Some(asked) = env::var_os(RUN_DIRECTORY_VARIABLE).map(PathBuf::from) {
            create_directory(&asked, 0o755)?;
            let path = asked.canonicalize()?;
            ensure!(
                user.can_enter(&path),
                "{RUN_DIRECTORY_VARIABLE} names {}, which {user} can't reach: PostgreSQL runs as {user}",
                path.display()
            );
            return Ok(RunDirectory { path });
        }
        let build = build_directory()?;
        if user.can_enter(&build) {
            let path = build.join("tandem");
            create_directory(&path, 0o755)?;
            return Ok(RunDirectory { path });
        }
        let path = Path::new("/var/tmp").join(format!("tandem-{}", fingerprint(&build)));
        if !path.exists() {
            terminal::note(&format!(
                "{user} can't reach {}: the pair lives in {} instead",
                build.display(),
                path.display()
            ));
        }
        create_directory(&path, 0o755)?;
        // Anybody may create names under /var/tmp: only a directory of our own is to be trusted.
        let found = fs::symlink_metadata(&path)?;
        ensure!(
            found.is_dir() && found.uid() == rustix::process::geteuid().as_raw(),
            "{} belongs to somebody else: remove it and try again",
            path.display()
        );
        Ok(RunDirectory { path })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the commands know of the running pair.
    pub fn state_file(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// Held by the `up` that starts or watches the pair.
    pub fn lock_file(&self) -> PathBuf {
        self.path.join("up.lock")
    }

    /// There while the first sales are being made, so that an interrupted filling is noticed.
    pub fn filling_file(&self) -> PathBuf {
        self.path.join("filling")
    }

    /// The services' logs and process ids.
    pub fn services(&self) -> PathBuf {
        self.path.join("services")
    }
}

/// Makes a directory with its parents. A directory that is there already keeps its mode.
pub fn create_directory(path: &Path, mode: u32) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("the directory {} can't be made", path.display()))
}

/// Writes a file so that a reader sees the old one or the whole new one, never a part. Returns the open file.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let write = || -> std::io::Result<File> {
        remove_if_there(&temporary)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        fs::rename(&temporary, path)?;
        Ok(file)
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}

/// Removes a file or a whole directory; one that is not there is no error.
pub fn remove_if_there(path: &Path) -> std::io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Sixteen hexadecimal digits that stand for a path.
fn fingerprint(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_written_file_has_its_mode_and_leaves_no_temporary_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        write_atomically(&path, b"one", 0o600).unwrap();
        write_atomically(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_workspace_root_is_where_the_members_are_named() {
        let manifest = fs::read_to_string(workspace_root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn other_builds_have_other_directories() {
        assert_ne!(fingerprint(Path::new("/a/target")), fingerprint(Path::new("/b/target")));
    }
}
