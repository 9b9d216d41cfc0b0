//! The generator as a process: started, awaited, its tally read.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Args, CALL_TIMEOUT, Tally};

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
        let mut command = Command::new(&self.program);
        command.args(["bench", "generate"]).args(args.words()).current_dir(&self.directory);
        // Ctrl-C is for the one who measures, who ends this one.
        command.process_group(0).stdin(Stdio::null()).kill_on_drop(true);
        let limit = args.duration() + CALL_TIMEOUT + GRACE;
        let output = timeout(limit, command.output()).await.context("the load generator does not end")?;
        let output = output.with_context(|| format!("{} can't be run", self.program.display()))?;
        if !output.status.success() {
            bail!("the load generator failed:\n{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("the load generator's tally can't be read")
    }
}
