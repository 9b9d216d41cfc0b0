//! The machine of somebody who types `cargo xtask`: a place for a pair that disturbs no other.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::Context as _;
use serde_json::Value;
use xtask::{cargo, postgres, tools};

/// How far above the ports of the first replica those of a second stand.
const TO_THE_SECOND: u16 = 10;

/// The directory in which a newcomer types.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a member of the workspace").to_owned()
}

/// A directory and ports of its own; both are gone when it is dropped, and the pair must be down by then.
pub struct Machine {
    home: tempfile::TempDir,
    ports: Vec<(&'static str, &'static str, u16)>,
    path: String,
}

impl Machine {
    /// A machine on which nothing runs yet; a second replica would find its ports free, too.
    pub fn new() -> anyhow::Result<Self> {
        let names = [
            ("TANDEM_PRIMARY_PORT", "5676"),
            ("TANDEM_REPLICA_PORT", "5677"),
            ("TANDEM_COMMAND_PORT", "50051"),
            ("TANDEM_QUERY_PORT", "50052"),
            ("TANDEM_COMMAND_METRICS_PORT", "9464"),
            ("TANDEM_QUERY_METRICS_PORT", "9465"),
        ];
        let ports = names.map(|(name, written)| anyhow::Ok((name, written, free_ports()?)));
        let home = tempfile::Builder::new().prefix("tandem-machine-").tempdir()?;
        // PostgreSQL may run as another user, who must get through.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755))?;
        let path = format!("{}:{}", tools::grpcurl_directory()?.display(), env::var("PATH")?);
        Ok(Self { home, ports: ports.into_iter().collect::<anyhow::Result<_>>()?, path })
    }

    /// A shell in the workspace, with the README's ports moved to free ones.
    pub fn shell(&self, command: &str) -> Command {
        let moved = self.ports.iter().fold(command.to_owned(), |command, (_, written, port)| {
            command.replace(&format!("localhost:{written}"), &format!("localhost:{port}"))
        });
        let moved = moved.replace("sale.json", &self.home.path().join("sale.json").display().to_string());
        let mut shell = Command::new("bash");
        // A newcomer's shell knows nothing of the cargo that runs this test.
        cargo::forget_caller(&mut shell);
        shell.args(["-o", "pipefail", "-c", &moved]).current_dir(workspace()).env("PATH", &self.path);
        shell.env("TANDEM_RUN_DIRECTORY", self.run_directory());
        shell.envs(self.ports.iter().map(|(name, _, port)| (name, port.to_string())));
        shell
    }

    /// Runs a command to its end.
    pub fn run(&self, command: &str) -> anyhow::Result<Output> {
        self.shell(command).stdin(Stdio::null()).output().context("bash can't be run")
    }

    /// Whether any process still has the pair's directory in its command line, or listens where a part of it did.
    pub fn anything_runs(&self) -> anyhow::Result<bool> {
        let ours = self.run_directory().display().to_string();
        let listed = Command::new("ps").args(["-eo", "args"]).output()?;
        let listens = self.ports.iter().any(|(_, _, port)| !are_free(*port));
        Ok(listens || String::from_utf8_lossy(&listed.stdout).lines().any(|line| line.contains(&ours)))
    }

    fn run_directory(&self) -> PathBuf {
        self.home.path().join("pair")
    }
}

/// A pair that commands typed on a machine of its own start; down when it is dropped.
pub struct TypedPair(pub Machine);

impl TypedPair {
    /// Runs `cargo xtask` to its end.
    pub fn run(&self, command: &str) -> Output {
        self.0.run(&format!("cargo xtask {command}")).expect("bash can be run")
    }

    /// What a command that must succeed prints.
    ///
    /// # Panics
    /// When it fails, with what it said.
    pub fn ok(&self, command: &str) -> String {
        let output = self.run(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command} ended with {}\n{said}", output.status);
        String::from_utf8(output.stdout).expect("commands print UTF-8")
    }

    /// The same as JSON.
    ///
    /// # Panics
    /// As [`ok`](Self::ok), and where it prints none.
    pub fn json(&self, command: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{command} --output json"))).expect("the command prints JSON")
    }
}

impl Drop for TypedPair {
    fn drop(&mut self) {
        let _best_effort = self.0.run("cargo xtask down");
    }
}

/// A port that is free, with the one that a second replica would take.
fn free_ports() -> anyhow::Result<u16> {
    loop {
        let port = postgres::free_port()?;
        if are_free(port) {
            return Ok(port);
        }
    }
}

/// Whether nobody listens on a port, nor on the one that a second replica would take.
fn are_free(port: u16) -> bool {
    [port, port + TO_THE_SECOND].into_iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}
