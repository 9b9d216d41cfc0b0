//! The generator as a process: started, awaited, its tally read.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Args, CALL_TIMEOUT, Tally, reads};

/// Beyond its time and the longest call, a generator needs to start, to connect and to end.
const GRACE: Duration = Duration::from_secs(15);

/// How to start generators.
#[derive(Debug, Clone)]
pub struct Generator {
    /// The program: a build of this very one.
    pub program: PathBuf,
    /// Where it works.
    pub directory: PathBuf,
}

impl Generator {
    /// Runs one to its end. Dropping the future ends it.
    ///
    /// # Errors
    ///
    /// It can't be run, or does not reach the service, or does not end.
    pub async fn run(&self, args: &Args) -> anyhow::Result<Tally> {
        self.execute("generate", args.words(), args.duration()).await
    }

    /// The same with readers.
    ///
    /// # Errors
    ///
    /// As [`Generator::run`].
    pub async fn read(&self, args: &reads::Args) -> anyhow::Result<Tally> {
        self.execute("generate-reads", args.words(), args.duration()).await
    }

    async fn execute(&self, what: &str, words: Vec<String>, duration: Duration) -> anyhow::Result<Tally> {
        let mut command = Command::new(&self.program);
        command.args(["bench", what]).args(words).current_dir(&self.directory);
        // Ctrl-C is for the one who measures, who ends this one.
        command.process_group(0).stdin(Stdio::null()).kill_on_drop(true);
        let limit = duration + CALL_TIMEOUT + GRACE;
        let output = timeout(limit, command.output()).await.context("the load generator does not end")?;
        let output = output.with_context(|| format!("{} can't be run", self.program.display()))?;
        if !output.status.success() {
            bail!("the load generator failed:\n{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("the load generator's tally can't be read")
    }
}
