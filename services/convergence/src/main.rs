//! `tandem-verify`: are both databases equal?

use std::process::ExitCode;

use clap::Parser;
use tandem_convergence::{Bar, CheckError, Flags, Options, Output, Report, verify};

/// The databases differ.
const DIFFERENT: u8 = 1;
/// Nothing can be said.
const COULD_NOT_CHECK: u8 = 2;

/// Proves that a replica holds every row that its primary holds, and names each that differs.
///
/// Nobody has to pause: rows that are written while they are compared are looked at again. A temporary slot on the primary
/// tells which those are; it goes with this program, whatever ends it.
///
/// Exit codes: 0 equal, 1 different, 2 could not check.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The primary, as postgres://user:password@host:port/database; a role that may read all tables and make slots.
    #[arg(long, env = "TANDEM_VERIFY_PRIMARY_URL", hide_env_values = true)]
    primary_url: String,

    /// The replica, in the same form.
    #[arg(long, env = "TANDEM_VERIFY_REPLICA_URL", hide_env_values = true)]
    replica_url: String,

    /// The publication on the primary.
    #[arg(long, default_value_t = Options::default().publication)]
    publication: String,

    /// The subscription on the replica.
    #[arg(long, default_value_t = Options::default().subscription)]
    subscription: String,

    #[command(flatten)]
    flags: Flags,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options { publication: args.publication, subscription: args.subscription, ..args.flags.options() };
    let flags = args.flags;
    let bar = Bar::draw();
    let result = verify(&args.primary_url, &args.replica_url, &options, &flags, |phase| bar.show(phase)).await;
    drop(bar);
    match result {
        Ok(report) => {
            print(&report, flags.output);
            if report.equal { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) }
        }
        Err(error) => {
            print_failure(&error, flags.output);
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
