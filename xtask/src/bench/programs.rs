//! What is measured and what measures, built the same way.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;

use crate::cargo;
use crate::places::{build_directory, workspace_root};
use crate::service::{Binaries, Service};

/// How programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// As they are deployed.
    Release,
    /// As tests build them: figures mean nothing.
    Dev,
}

impl Profile {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Dev => "dev",
        }
    }
}

/// Package and binary of the load generator: this very program.
const GENERATOR: &str = "xtask";

/// The services and the load generator.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Both services.
    pub services: Binaries,
    /// This program, whose generator runs as a process of its own.
    pub generator: PathBuf,
}

impl Programs {
    /// Those that are built already.
    ///
    /// # Errors
    ///
    /// One is missing.
    pub fn built(directory: &Path) -> anyhow::Result<Programs> {
        let directory = directory.canonicalize().with_context(|| format!("{} is not there", directory.display()))?;
        let programs = Programs { services: Binaries::built(directory.clone()), generator: directory.join(GENERATOR) };
        let needed = Service::BOTH.map(|service| programs.services.path(service));
        for program in needed.iter().chain([&programs.generator]) {
            ensure!(program.is_file(), "{} is not there", program.display());
        }
        Ok(programs)
    }

    /// Has cargo build them. In the profile of the tests, services that are built already are taken.
    ///
    /// # Errors
    ///
    /// Something does not build.
    pub async fn build(profile: Profile) -> anyhow::Result<Programs> {
        let services = match profile {
            Profile::Release => Binaries::build(true).await?,
            Profile::Dev => Binaries::from_environment().await?,
        };
        let mut command = tokio::process::Command::from(cargo::command());
        command.args(["build", "--bin", GENERATOR]).current_dir(workspace_root());
        command.env("SQLX_OFFLINE", "true").kill_on_drop(true);
        if !io::stderr().is_terminal() {
            command.arg("--quiet");
        }
        // With the features of dependencies that the services were built with, or that this program was run with: with
        // others, sqlx and what stands on it would be built once more.
        match profile {
            Profile::Release => command.args(["--release", "--workspace"]),
            Profile::Dev => command.args(["--package", GENERATOR]),
        };
        let status = command.status().await.context("cargo can't be run: is it on the PATH?")?;
        ensure!(status.success(), "the load generator does not build; cargo's messages are above");
        let directory = if profile == Profile::Release { "release" } else { "debug" };
        Ok(Programs { services, generator: build_directory()?.join(directory).join(GENERATOR) })
    }
}
