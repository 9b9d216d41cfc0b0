//! The services as processes: started apart from the terminal, found again by their process id files.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Child;
use tokio::time::Instant;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::log_excerpt::Logged;
use crate::places::{RunDirectory, create_directory};
use crate::process::{Pid, command_line, read_pid_file};
use crate::service::{Binaries, Environment, Instance, give_environment};

/// How long a service may take until it is healthy: it connects to one database and binds two ports.
const HEALTHY_LIMIT: Duration = Duration::from_secs(30);

/// How often a service that starts is asked for its health.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long one question for health may take.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);

/// Writes the shell's process id, which the service then takes over: there is no moment at which the
/// service runs and its id is not on disk. A closing terminal must not end a detached service.
const WRAPPER: &str = r#"trap '' HUP; echo $$ > "$1" && shift && exec "$@""#;

/// A service that this process has started.
#[derive(Debug)]
pub struct ServiceProcess {
    instance: Instance,
    child: Child,
    log: PathBuf,
}

impl ServiceProcess {
    /// Starts a service with its output in its log, which begins anew.
    pub fn start(
        directory: &RunDirectory,
        binaries: &Binaries,
        instance: Instance,
        environment: &Environment,
    ) -> anyhow::Result<ServiceProcess> {
        create_directory(&directory.services(), 0o700)?;
        let log = log_file(directory, instance);
        let output = File::create(&log).with_context(|| format!("{} can't be written", log.display()))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WRAPPER, "sh"]).arg(pid_file(directory, instance));
        command.arg(binaries.path(instance.service())).arg("serve");
        if std::env::var_os("TANDEM_LOG_FORMAT").is_none() {
            // A file is no terminal, and yet people read this one.
            command.env("TANDEM_LOG_FORMAT", "text");
        }
        give_environment(&mut command, environment);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = tokio::process::Command::from(command)
            .spawn()
            .with_context(|| format!("{} can't be started", instance.label()))?;
        Ok(ServiceProcess { instance, child, log })
    }

    /// Which one it is.
    pub fn instance(&self) -> Instance {
        self.instance
    }

    /// Waits until the service says that it serves. The error shows the end of its log.
    pub async fn wait_until_healthy(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let deadline = Instant::now() + HEALTHY_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(self.obituary(status));
            }
            let health = health(&address.to_string()).await;
            if health == "SERVING" {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let waited = HEALTHY_LIMIT.as_secs();
                let reason = format!("{} is {health} {waited} s after its start", self.instance.label());
                bail!(Logged::new(reason, &self.log, 0));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns when the service ends: what to tell of it.
    pub async fn ended(&mut self) -> anyhow::Result<Logged> {
        let status = self.child.wait().await?;
        Ok(self.obituary(status))
    }

    /// The log begins anew with each start, so all of it is of this process.
    fn obituary(&self, status: ExitStatus) -> Logged {
        Logged::new(format!("{} ended by itself ({status})", self.instance.label()), &self.log, 0)
    }
}

/// A service's log.
pub fn log_file(directory: &RunDirectory, instance: Instance) -> PathBuf {
    directory.services().join(format!("{}.log", instance.short_name()))
}

/// The process of a service, if it is alive.
pub fn alive(directory: &RunDirectory, instance: Instance) -> Option<Pid> {
    let pid = read_pid_file(&pid_file(directory, instance))?;
    // The id may be somebody else's by now.
    command_line(pid)?.contains(&format!("{} serve", instance.service().binary())).then_some(pid)
}

/// What `grpc.health.v1` says of a server as a whole: `SERVING`, `NOT_SERVING`, or `UNREACHABLE`.
pub async fn health(address: &str) -> &'static str {
    let ask = async {
        let channel = Endpoint::from_shared(format!("http://{address}")).ok()?.connect().await.ok()?;
        let request = HealthCheckRequest { service: String::new() };
        Some(HealthClient::new(channel).check(request).await.ok()?.into_inner().status())
    };
    match tokio::time::timeout(HEALTH_LIMIT, ask).await.ok().flatten() {
        Some(ServingStatus::Serving) => "SERVING",
        Some(_) => "NOT_SERVING",
        None => "UNREACHABLE",
    }
}

/// Forgets the process id of a service that is gone.
pub(super) fn forget(directory: &RunDirectory, instance: Instance) -> anyhow::Result<()> {
    crate::places::remove_if_there(&pid_file(directory, instance)).map_err(Into::into)
}

fn pid_file(directory: &RunDirectory, instance: Instance) -> PathBuf {
    directory.services().join(format!("{}.pid", instance.short_name()))
}

/// The size of a service's log so far, in bytes.
pub fn log_size(directory: &RunDirectory, instance: Instance) -> u64 {
    fs::metadata(log_file(directory, instance)).map_or(0, |found| found.len())
}
