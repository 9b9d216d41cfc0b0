//! A service as it is deployed: the real binary as a child process, its settings from the environment.

use std::{
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    sync::watch,
    time::timeout,
};
use xtask::{
    postgres::TestPair,
    process::{Pid, Signal, signal},
    service::{Binaries, Service, give_environment},
};

/// How long a program may take for anything: starting, saying a line, ending.
const PATIENCE: Duration = Duration::from_secs(20);

/// Variables of the caller's shell that would change what a test sees.
const OF_THE_CALLER: [&str; 4] =
    ["TANDEM_LOG", "TANDEM_LOG_FORMAT", "TANDEM_INSTANCE_NAME", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// A running service. Dropping it kills it.
pub struct Program {
    child: Child,
    log: watch::Receiver<Vec<String>>,
    /// Where it answers gRPC, if it does.
    pub grpc: SocketAddr,
    /// Where it answers Prometheus.
    pub metrics: SocketAddr,
}

/// The command that serves `pair` on free ports; `further` variables win over the pair's.
pub async fn command(pair: &TestPair, service: Service, further: &[(&str, &str)]) -> anyhow::Result<Command> {
    Ok(command_of(&Binaries::from_environment().await?.path(service), pair, service, further))
}

/// The command that does something else with `pair`: a subcommand beside `serve`.
pub async fn subcommand(pair: &TestPair, service: Service, name: &str) -> anyhow::Result<Command> {
    Ok(command_to(name, &Binaries::from_environment().await?.path(service), pair, service, &[]))
}

/// The same as [`command`] of another build of the service.
pub fn command_of(binary: &Path, pair: &TestPair, service: Service, further: &[(&str, &str)]) -> Command {
    command_to("serve", binary, pair, service, further)
}

fn command_to(name: &str, binary: &Path, pair: &TestPair, service: Service, further: &[(&str, &str)]) -> Command {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut command = std::process::Command::new(binary);
    for name in OF_THE_CALLER {
        command.env_remove(name);
    }
    give_environment(&mut command, &pair.serve_environment(service, free, free));
    command.arg(name).envs(further.iter().copied()).stdin(Stdio::null());
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

/// The command that verifies `pair` again and again.
pub async fn verifier(pair: &TestPair, every: &str, timeout_seconds: u32) -> anyhow::Result<Command> {
    let mut command = std::process::Command::new(Binaries::from_environment().await?.verifier());
    for name in OF_THE_CALLER {
        command.env_remove(name);
    }
    command.args(["--every", every, "--timeout", &timeout_seconds.to_string(), "--metrics-listen", "127.0.0.1:0"]);
    command.env("TANDEM_VERIFY_PRIMARY_URL", pair.primary().admin_url());
    command.env("TANDEM_VERIFY_REPLICA_URL", pair.replica().admin_url()).stdin(Stdio::null());
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    Ok(command)
}

/// Runs a command that should end by itself.
pub async fn run_to_end(mut command: Command) -> anyhow::Result<Output> {
    timeout(PATIENCE, command.output()).await.context("the program does not end")?.context("the program can't be run")
}

impl Program {
    /// Starts a service on `pair`, and waits until it listens; it need not serve yet.
    pub async fn start(pair: &TestPair, service: Service, further: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::spawn(command(pair, service, further).await?).await
    }

    /// Runs a command that serves, and waits until it listens.
    pub async fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("stderr is piped")?).lines();
        let (writer, log) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                writer.send_modify(|log| log.push(line));
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Self { child, log, grpc: unknown, metrics: unknown };
        let listening = program.line(|line| line["message"] == "listening").await?;
        let address = |name: &str| listening[name].as_str().map(|told| told.parse().context(name.to_owned()));
        program.grpc = address("grpc").transpose()?.unwrap_or(unknown);
        program.metrics = address("metrics").context("an address is logged")??;
        Ok(program)
    }

    /// Waits for a line of the log, which is JSON since nobody looks at a terminal. When the program has ended without
    /// it, or the line does not come, the error shows the whole log.
    pub async fn line(&self, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let mut log = self.log.clone();
        let find = |log: &[String]| log.iter().filter_map(|line| serde_json::from_str(line).ok()).find(&wanted);
        let waited = timeout(PATIENCE, log.wait_for(|log| find(log).is_some())).await;
        if let Ok(Ok(log)) = waited {
            return Ok(find(&log).expect("it has just been found"));
        }
        bail!("the line did not come; the log is:\n{}", self.log().join("\n"))
    }

    /// All lines so far.
    pub fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    /// Asks the program to end, as an orchestrator does.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        signal(id.context("the program has ended already")?, Signal::TERM).context("it can't be signalled")
    }

    /// Kills the program where it stands: it does not hear of it.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("it can't be killed")
    }

    /// Waits until the program has ended, and gives its whole log as well.
    pub async fn ended(mut self) -> anyhow::Result<(ExitStatus, Vec<String>)> {
        let status = timeout(PATIENCE, self.child.wait()).await.context("the program does not end")??;
        // The channel closes after the last line.
        let closed = async { while self.log.changed().await.is_ok() {} };
        timeout(PATIENCE, closed).await.context("the log does not end")?;
        Ok((status, self.log()))
    }

    /// What Prometheus scrapes.
    pub async fn scrape(&self) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.metrics).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.context("metrics are not answered")??;
        Ok(answer)
    }
}
