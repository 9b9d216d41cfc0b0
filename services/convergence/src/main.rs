//! `tandem-verify`: are both databases equal?

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use indicatif::ProgressBar;
use tandem_convergence::{CheckError, Options, Report, check_observed};

/// The databases differ.
const DIFFERENT: u8 = 1;
/// Nothing can be said.
const COULD_NOT_CHECK: u8 = 2;
/// Fast enough to look alive, slow enough to cost nothing.
const SPINNER_TICK: Duration = Duration::from_millis(120);

/// Compares every published table of a primary and its replica: rows, sums and row hashes.
///
/// Exit codes: 0 equal, 1 different, 2 could not check.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The primary, as postgres://user:password@host:port/database; a role that may read all tables.
    #[arg(long, env = "TANDEM_VERIFY_PRIMARY_URL", hide_env_values = true)]
    primary_url: String,

    /// The replica, in the same form.
    #[arg(long, env = "TANDEM_VERIFY_REPLICA_URL", hide_env_values = true)]
    replica_url: String,

    /// Give up after so many seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,

    /// The publication on the primary.
    #[arg(long, default_value_t = Options::default().publication)]
    publication: String,

    /// The subscription on the replica.
    #[arg(long, default_value_t = Options::default().subscription)]
    subscription: String,

    /// Leave out the replica's rollups, which take longer than the tables.
    #[arg(long)]
    skip_rollups: bool,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// A table for people.
    Text,
    /// One JSON object.
    Json,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options {
        timeout: Duration::from_secs(args.timeout),
        publication: args.publication,
        subscription: args.subscription,
        rollups: !args.skip_rollups,
    };
    let spinner = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    spinner.enable_steady_tick(SPINNER_TICK);
    let result = check_observed(&args.primary_url, &args.replica_url, &options, |phase| {
        spinner.set_message(phase.to_string());
    })
    .await;
    spinner.finish_and_clear();
    match result {
        Ok(report) => {
            print(&report, args.output);
            if report.equal { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) }
        }
        Err(error) => {
            print_failure(&error, args.output);
            ExitCode::from(COULD_NOT_CHECK)
        }
    }
}

fn print(report: &Report, output: Output) {
    match output {
        Output::Text => println!("{report}"),
        // A report is plain data: no map keys but strings, no numbers that JSON lacks.
        Output::Json => println!("{}", serde_json::to_string(report).expect("a report is valid JSON")),
    }
}

fn print_failure(error: &CheckError, output: Output) {
    if let Output::Json = output {
        println!("{}", serde_json::json!({"equal": null, "error": error.with_causes()}));
    }
    eprintln!("could not check: {}", error.with_causes());
}
