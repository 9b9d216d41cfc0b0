//! A service that is measured: the real program as a child process, with metrics on a port of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::usage::Usage;
use crate::postgres::{TestPair, tail};
use crate::running::health;
use crate::service::{Binaries, Service, give_environment};

/// How long the service may take until it serves: it connects to one database and binds two ports.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How often a service that starts is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A scrape takes milliseconds.
const SCRAPE_LIMIT: Duration = Duration::from_secs(5);

/// How many lines of the log an error shows.
const LOG_TAIL_LINES: usize = 10;

/// What would change a service behind the back of whoever reads the figures; `--service-env` says it openly.
const OF_THE_CALLER: &str = "TANDEM_";

/// A running service. Dropping it kills it.
#[derive(Debug)]
pub struct ServiceProcess {
    service: Service,
    child: Child,
    log: PathBuf,
    /// Where it answers gRPC.
    pub address: SocketAddr,
    metrics: SocketAddr,
}

impl ServiceProcess {
    /// Starts it with default settings but for `further`, and returns once it serves.
    pub async fn start(
        service: Service,
        pair: &TestPair,
        binaries: &Binaries,
        directory: &Path,
        further: &[(String, String)],
    ) -> anyhow::Result<ServiceProcess> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let log = directory.join(format!("{}.log", service.short_name()));
        let output = File::create(&log).with_context(|| format!("{} can't be written", log.display()))?;
        let mut command = Command::new(binaries.path(service));
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(OF_THE_CALLER.as_bytes()) || name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
                command.env_remove(&name);
            }
        }
        give_environment(&mut command, &pair.serve_environment(service, any_port, any_port));
        command.envs(further.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
        command.arg("serve").current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let mut command = tokio::process::Command::from(command);
        // Ctrl-C is for the one who measures, who ends this one.
        let child = command.process_group(0).kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("{} can't be started", service.binary()))?;
        let mut process = ServiceProcess { service, child, log, address: any_port, metrics: any_port };
        process.wait_until_it_serves().await?;
        Ok(process)
    }

    /// What it has used so far.
    pub fn usage(&self) -> Option<Usage> {
        Usage::of(self.child.id()?)
    }

    /// Whether it has died; the error shows the end of its log.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended ({status}); the end of its log:\n{}", self.service.binary(), self.log_tail())
            }
        }
    }

    /// What Prometheus scrapes.
    pub async fn scrape(&self) -> anyhow::Result<String> {
        let ask = async {
            let mut stream = TcpStream::connect(self.metrics).await?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        timeout(SCRAPE_LIMIT, ask).await.context("the service's metrics are not answered")?
    }

    async fn wait_until_it_serves(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let mut listening = None;
        loop {
            self.check_alive()?;
            if listening.is_none() {
                listening = addresses(&std::fs::read_to_string(&self.log)?);
            }
            if let Some((grpc, metrics)) = listening {
                (self.address, self.metrics) = (grpc, metrics);
                if health(&grpc.to_string()).await == "SERVING" {
                    return Ok(());
                }
            }
            if Instant::now() >= deadline {
                bail!("{} does not serve; the end of its log:\n{}", self.service.binary(), self.log_tail());
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    fn log_tail(&self) -> String {
        tail(&self.log, LOG_TAIL_LINES)
    }
}

/// The ports that the system gave it, gRPC and metrics, from its log.
fn addresses(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let said = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let listening = said.into_iter().find(|line| line["message"] == "listening")?;
    let address = |name: &str| listening[name].as_str()?.parse().ok();
    Some((address("grpc")?, address("metrics")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_line_that_tells_them() {
        let log = "half a li\n{\"message\":\"started\"}\n\
                   {\"message\":\"listening\",\"grpc\":\"127.0.0.1:5\",\"metrics\":\"127.0.0.1:6\"}\n";
        let (grpc, metrics) = addresses(log).unwrap();
        assert_eq!((grpc.port(), metrics.port()), (5, 6));
        assert_eq!(addresses("{\"message\":\"started\"}\n"), None);
    }
}
