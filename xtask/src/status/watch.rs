//! `status --watch`: again and again, until somebody has seen enough.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::Duration;

use super::replication::Replicas;
use super::{Output, look};
use crate::places::RunDirectory;
use crate::running::Interrupt;
use crate::terminal;

/// To the upper left corner, and away with what stands below.
const REDRAW: &str = "\x1b[H\x1b[J";

/// Looks every `interval`, and tells; ends with Ctrl-C, which is no failure.
pub(super) async fn run(
    directory: &RunDirectory,
    replicas: &mut Replicas,
    output: Output,
    interval: Duration,
) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let redraws = stdout().is_terminal();
    loop {
        let Ok(status) = interrupt.or(look(directory, replicas, false)).await else { return Ok(ExitCode::SUCCESS) };
        let status = status?;
        match output {
            Output::Json => terminal::result(serde_json::to_string(&status)?),
            Output::Text if redraws => terminal::result(format_args!("{REDRAW}{status}\n\nCtrl-C ends")),
            Output::Text => status.lines().iter().for_each(terminal::result),
        }
        if interrupt.or(tokio::time::sleep(interval)).await.is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}
