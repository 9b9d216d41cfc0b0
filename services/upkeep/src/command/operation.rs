//! What all commands have in common: asking, progress, time, and the end.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;
use tandem_convergence::{Options, Report};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::UpkeepError;

/// Done, and the databases differ; or nothing was done because nobody agreed.
pub(super) const NOT_EQUAL: u8 = 1;
/// The exit code when it could not be done.
pub const FAILED: u8 = 2;
/// Fast enough to look alive, slow enough to cost nothing.
const SPINNER_TICK: Duration = Duration::from_millis(120);

/// What every one of these commands takes.
#[derive(Clone, Debug, Args)]
pub struct Operation {
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Give up after so many seconds. What was done until then stays, and the command can be run again.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub timeout: u64,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Where signals can't be watched, they end the process by themselves.
async fn asked_to_stop() {
    let watched = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = watched else { return std::future::pending().await };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

impl Operation {
    pub(super) fn options(&self, subscription: &str) -> Options {
        let timeout = Duration::from_secs(self.timeout);
        Options { timeout, subscription: subscription.to_owned(), ..Options::default() }
    }

    pub(super) fn spinner(&self) -> ProgressBar {
        let spinner = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        spinner.enable_steady_tick(SPINNER_TICK);
        spinner
    }

    /// Says what is to be done, and asks unless it need not.
    pub(super) fn agreed(&self, plan: &str) -> bool {
        eprintln!("{plan}");
        if self.yes {
            return true;
        }
        if !io::stdin().is_terminal() {
            eprintln!("There is no terminal to ask on: agree with --yes.");
            return false;
        }
        eprint!("Go on? [y/N] ");
        let mut answer = String::new();
        let read = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut answer));
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    /// Carries it out until the time is up, or somebody asks to stop (Ctrl-C, SIGTERM). `left` says how things stand then.
    pub(super) async fn in_time<T>(
        &self,
        spinner: &ProgressBar,
        left: &'static str,
        doing: impl Future<Output = Result<T, UpkeepError>>,
    ) -> Result<T, UpkeepError> {
        let timeout = Duration::from_secs(self.timeout);
        let doing = async {
            tokio::select! {
                done = doing => done,
                () = asked_to_stop() => Err(UpkeepError::Interrupted { left }),
            }
        };
        let outcome = tokio::time::timeout(timeout, doing).await;
        let doing = spinner.message();
        spinner.finish_and_clear();
        outcome.unwrap_or(Err(UpkeepError::TimedOut { timeout, doing }))
    }

    /// Prints the outcome, and tells the exit code.
    pub(super) fn end<T: Serialize>(
        &self,
        outcome: Result<T, UpkeepError>,
        told: impl Fn(&T) -> String,
        verify: impl Fn(&T) -> Option<&Report>,
    ) -> ExitCode {
        match outcome {
            Ok(done) => {
                let text = match self.output {
                    Output::Text => told(&done),
                    // Plain data: no map keys but strings, no numbers that JSON lacks.
                    Output::Json => serde_json::to_string(&done).expect("an outcome is valid JSON"),
                };
                println!("{text}");
                if verify(&done).is_some_and(|report| report.equal) {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::from(NOT_EQUAL)
                }
            }
            Err(error) => {
                let why = error.with_causes();
                if self.output == Output::Json {
                    println!("{}", serde_json::json!({ "error": why }));
                }
                eprintln!("{why}");
                ExitCode::from(FAILED)
            }
        }
    }
}
