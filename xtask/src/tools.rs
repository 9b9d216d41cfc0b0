//! Programs that the tests need and that are not Rust: installed once into the build directory.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::places::{build_directory, create_directory, remove_if_there};
use crate::terminal;

/// The version that the README's calls are tested with.
const GRPCURL_VERSION: &str = "v1.9.3";

/// The directory that holds the pinned grpcurl; installs it with Go where it is missing. Blocks meanwhile.
pub fn grpcurl_directory() -> anyhow::Result<PathBuf> {
    let tools = build_directory()?.join("tandem").join("tools");
    let directory = tools.join(format!("grpcurl-{GRPCURL_VERSION}"));
    if directory.join("grpcurl").exists() {
        return Ok(directory);
    }
    terminal::note(&format!("installing grpcurl {GRPCURL_VERSION} with go"));
    create_directory(&tools, 0o755)?;
    let scratch = tempfile::Builder::new().prefix("grpcurl.").tempdir_in(&tools)?;
    let output = Command::new("go")
        .arg("install")
        .arg(format!("github.com/fullstorydev/grpcurl/cmd/grpcurl@{GRPCURL_VERSION}"))
        .env("GOBIN", scratch.path())
        .output()
        .context("go can't be run: install Go (https://go.dev/doc/install) to get grpcurl, which the tests call")?;
    ensure!(
        output.status.success(),
        "grpcurl can't be installed: go said:\n{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    create_directory(&directory, 0o755)?;
    // The rename makes it whole or absent.
    fs::rename(scratch.path().join("grpcurl"), directory.join("grpcurl"))?;
    remove_if_there(scratch.path())?;
    Ok(directory)
}

/// The directory that holds `prometheus` and `promtool`: that of the PATH, else Debian's package, unpacked into the build
/// directory and not installed (19 MB, about a second). Blocks meanwhile.
pub fn prometheus_directory() -> anyhow::Result<PathBuf> {
    let on_path = env::var_os("PATH").and_then(|path| {
        let both = |directory: &PathBuf| directory.join("prometheus").is_file() && directory.join("promtool").is_file();
        env::split_paths(&path).find(both)
    });
    let directory = build_directory()?.join("tandem").join("tools").join("prometheus");
    let unpacked = directory.join("usr/bin");
    if let Some(found) = on_path.or_else(|| unpacked.join("prometheus").exists().then(|| unpacked.clone())) {
        return Ok(found);
    }
    terminal::note("unpacking Debian's prometheus");
    let tools = directory.parent().context("a directory below the build directory has a parent")?;
    create_directory(tools, 0o755)?;
    let scratch = tempfile::Builder::new().prefix("prometheus.").tempdir_in(tools)?;
    let script = "apt-get --quiet --quiet download prometheus && dpkg-deb --extract prometheus_*.deb unpacked";
    let output = Command::new("sh").args(["-c", script]).current_dir(scratch.path()).output()?;
    ensure!(
        output.status.success(),
        "Prometheus is missing, which the tests of the alerts ask. Put prometheus and promtool on the PATH; on Debian, \
         `apt-get update` lets it be fetched. apt-get said:\n{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    remove_if_there(&directory)?;
    // The rename makes it whole or absent.
    fs::rename(scratch.path().join("unpacked"), &directory)?;
    Ok(unpacked)
}
