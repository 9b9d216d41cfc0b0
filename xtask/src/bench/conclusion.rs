//! How a measurement ends: with figures, with a void run, or with Ctrl-C.

use std::fmt::Display;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use super::answers::Void;
use crate::running::{Interrupt, Interrupted};
use crate::terminal;

/// A wrong answer makes every figure worthless.
const VOID: u8 = 2;

/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables for people.
    Text,
    /// One JSON object.
    Json,
}

/// Runs a measurement and prints what it found; `picture` draws it into the file `svg`.
///
/// # Errors
///
/// It could not be run. A run that was void is no error but exit code 2, and a target that was missed is neither.
pub async fn conclude<R: Display + Serialize>(
    run: impl Future<Output = anyhow::Result<R>>,
    output: Output,
    svg: Option<&Path>,
    picture: impl FnOnce(&R) -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    // Dropping the run ends whatever it has started.
    let report = match interrupt.or(run).await {
        Err(Interrupted) => {
            terminal::note("interrupted: everything is stopped");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Ok(Err(error)) => {
            let Some(void) = error.downcast_ref::<Void>() else { return Err(error) };
            if output == Output::Json {
                terminal::result(json!({"void": void.0}));
            }
            terminal::failure(&error);
            return Ok(ExitCode::from(VOID));
        }
        Ok(Ok(report)) => report,
    };
    match output {
        Output::Text => terminal::result(&report),
        Output::Json => terminal::result(serde_json::to_string(&report)?),
    }
    // Figures that took long are not lost to a picture that can't be drawn.
    if let Some(path) = svg {
        fs::write(path, picture(&report)?).with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
