//! Programs that the tests need and that are not Rust: installed once into the build directory.

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
