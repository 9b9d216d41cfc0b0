//! A real Prometheus that scrapes a real service and evaluates the rules that are shipped.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use regex::Regex;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Child,
    time::{Instant, sleep, timeout},
};
use xtask::{postgres::free_port, tools};

/// How long an alert may take: a state that needs ten seconds of no motion, a look, a scrape and an evaluation.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between looks: as often as Prometheus evaluates.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// A scrape and an evaluation each so often.
const INTERVAL: &str = "500ms";

/// A running Prometheus. Dropping it kills it.
pub struct Prometheus {
    _child: Child,
    _directory: tempfile::TempDir,
    address: SocketAddr,
}

/// The rules in a hurry: what waits minutes waits no time, and of a duration in seconds a tenth at most is asked for. Of
/// what the rules look at nothing changes.
pub fn hurried(rules: &str) -> String {
    let waits = Regex::new(r"(?m)^(\s+for:).*$").expect("a pattern");
    let seconds = Regex::new(r"(_seconds >) \d+").expect("a pattern");
    seconds.replace_all(&waits.replace_all(rules, "$1 0s"), "$1 6").into_owned()
}

/// What promtool says of a file of rules.
pub fn check_rules(rules: &Path) -> anyhow::Result<String> {
    let promtool = tools::prometheus_directory()?.join("promtool");
    let output = Command::new(promtool).args(["check", "rules"]).arg(rules).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Prometheus {
    /// Starts one that scrapes each target as the job of this name, and waits until it has.
    pub async fn start(rules: &str, targets: &[(&str, SocketAddr)]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("tandem-prometheus-").tempdir()?;
        let job = |(name, target): &(&str, SocketAddr)| {
            format!("{{job_name: {name}, static_configs: [{{targets: ['{target}']}}]}}")
        };
        let jobs = targets.iter().map(job).collect::<Vec<_>>().join(", ");
        let configuration = format!(
            "global: {{scrape_interval: {INTERVAL}, scrape_timeout: {INTERVAL}, evaluation_interval: {INTERVAL}}}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs: [{jobs}]\n"
        );
        std::fs::write(directory.path().join("prometheus.yaml"), configuration)?;
        std::fs::write(directory.path().join("rules.yaml"), rules)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = Command::new(tools::prometheus_directory()?.join("prometheus"));
        command.args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--log.level=warn"]);
        command.arg(format!("--web.listen-address={address}")).current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut command = tokio::process::Command::from(command);
        let child = command.kill_on_drop(true).spawn().context("prometheus can't be run")?;
        let started = Self { _child: child, _directory: directory, address };
        started.until_it_has_scraped(targets.len()).await?;
        Ok(started)
    }

    /// The names of the alerts that fire now.
    pub async fn firing(&self) -> anyhow::Result<BTreeSet<String>> {
        let answer = self.get("/api/v1/alerts").await?;
        let alerts = answer["data"]["alerts"].as_array().context("Prometheus lists alerts")?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// Waits until exactly these alerts fire, apart from those that `may` as well.
    pub async fn until_firing(&self, expected: &[&str], may: &[&str]) -> anyhow::Result<()> {
        let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut firing = self.firing().await?;
            firing.retain(|name| expected.contains(name) || !may.contains(&name.as_str()));
            if firing == expected {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("waited in vain until {expected:?} fire and no other: {firing:?} do");
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn until_it_has_scraped(&self, targets: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Until it listens there is no answer.
            let answer = self.get("/api/v1/query?query=up%20%3D%3D%201").await.unwrap_or_default();
            if answer["data"]["result"].as_array().is_some_and(|found| found.len() == targets) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "waited in vain until Prometheus has scraped every target");
            sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let mut stream = TcpStream::connect(self.address).await?;
        // Of version 1.0, so that the answer comes in one piece.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.context("Prometheus does not answer")??;
        let (_, body) = answer.split_once("\r\n\r\n").context("an answer has a body")?;
        Ok(serde_json::from_str(body)?)
    }
}
