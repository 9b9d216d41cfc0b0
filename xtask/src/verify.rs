//! Are both databases equal? `cargo xtask verify` asks `tandem_convergence` about the running pair.

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::ProgressBar;
use tandem_convergence::{CheckError, Options, Report, check_observed};

use crate::{RunState, terminal};

/// The databases differ.
const DIFFERENT: u8 = 1;
/// What to do when both databases differ.
pub const AFTER_A_DIFFERENCE: &str = "look with `cargo xtask psql primary` and `cargo xtask psql replica`, compare \
    again with `cargo xtask verify`, start afresh with `cargo xtask reset` and `cargo xtask up`";
/// Nothing can be said.
const COULD_NOT_CHECK: u8 = 2;
/// Fast enough to look alive, slow enough to cost nothing.
const SPINNER_TICK: Duration = Duration::from_millis(120);

/// Proves that primary and replica hold the same rows.
///
/// Waits until the replica has what the primary had, then compares rows, sums and row hashes of every published
/// table. Exit codes: 0 equal, 1 different, 2 could not check.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,

    /// The primary, as postgres://user:password@host:port/database [default: that of the running pair].
    #[arg(long, value_name = "URL", requires = "replica_url")]
    pub primary_url: Option<String>,

    /// The replica, in the same form [default: that of the running pair].
    #[arg(long, value_name = "URL", requires = "primary_url")]
    pub replica_url: Option<String>,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people.
    Text,
    /// One JSON object.
    Json,
}

/// Runs the command and prints what it found.
///
/// # Errors
///
/// The result can't be printed. That nothing could be checked is no error but exit code 2.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let found = match urls(args) {
        Ok((primary, replica)) => {
            check(&primary, &replica, Duration::from_secs(args.timeout)).await.map_err(|error| error.with_causes())
        }
        Err(error) => Err(format!("{error:#}")),
    };
    match found {
        Ok(report) => {
            match args.output {
                Output::Text => println!("{report}"),
                Output::Json => println!("{}", serde_json::to_string(&report)?),
            }
            if report.equal {
                return Ok(ExitCode::SUCCESS);
            }
            // Databases of somebody's own are his to look at.
            if args.primary_url.is_none() {
                terminal::note(AFTER_A_DIFFERENCE);
            }
            Ok(ExitCode::from(DIFFERENT))
        }
        Err(why) => {
            if args.output == Output::Json {
                println!("{}", serde_json::json!({"equal": null, "error": why}));
            }
            eprintln!("could not check: {why}");
            Ok(ExitCode::from(COULD_NOT_CHECK))
        }
    }
}

fn urls(args: &Args) -> anyhow::Result<(String, String)> {
    if let (Some(primary), Some(replica)) = (&args.primary_url, &args.replica_url) {
        return Ok((primary.clone(), replica.clone()));
    }
    let state = RunState::load()?;
    Ok((state.primary.admin_url, state.replica.admin_url))
}

/// Compares two databases behind a spinner, which is drawn on standard error where that is a terminal.
///
/// # Errors
///
/// Nothing could be said; the databases being different is no error.
pub async fn check(primary_url: &str, replica_url: &str, timeout: Duration) -> Result<Report, CheckError> {
    let spinner = if stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    spinner.enable_steady_tick(SPINNER_TICK);
    let options = Options { timeout, ..Options::default() };
    let found =
        check_observed(primary_url, replica_url, &options, |phase| spinner.set_message(phase.to_string())).await;
    spinner.finish_and_clear();
    found
}
