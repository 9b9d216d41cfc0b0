//! `tandem-verify`: are both databases equal?

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tandem_chassis::background::{Background, FINISH_LIMIT};
use tandem_chassis::settings::{LogSettings, parse_duration};
use tandem_chassis::shutdown::Shutdown;
use tandem_chassis::{listeners, process};
use tandem_convergence::{Bar, CheckError, Flags, Options, Output, Report, Schedule, verify};

const SERVICE: &str = "tandem-verify";

/// The databases differ.
const DIFFERENT: u8 = 1;
/// Nothing can be said.
const COULD_NOT_CHECK: u8 = 2;

/// Proves that a replica holds every row that its primary holds, and names each that differs.
///
/// Nobody has to pause: rows that are written while they are compared are looked at again. A temporary slot on the primary
/// tells which those are; it goes with this program, whatever ends it.
///
/// Exit codes: 0 equal, 1 different, 2 could not check. With --every: 0 ended by SIGTERM, 1 it could not be run; what rounds
/// find is in the metrics and in the log.
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

    /// Verify again and again until SIGTERM, beginning a round this often (15m): rounds that can't check say so and are
    /// tried again. --timeout is that of a round; --output json prints each report as a line.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration,
        conflicts_with_all = ["repair", "batch_id"])]
    every: Option<Duration>,

    /// With --every: where Prometheus scrapes `tandem_convergence_…` (/metrics), and whether the program runs (/livez).
    #[arg(long, env = "TANDEM_VERIFY_METRICS_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9466")]
    metrics_listen: SocketAddr,

    #[command(flatten)]
    log: LogSettings,

    #[command(flatten)]
    flags: Flags,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Args { primary_url, replica_url, publication, subscription, every, metrics_listen, log, flags } = Args::parse();
    let options = Options { publication, subscription, ..flags.options() };
    match every {
        Some(every) => {
            let schedule = Schedule { primary_url, replica_url, options, every };
            process::run(SERVICE, &log, again_and_again(schedule, metrics_listen, flags.output)).await
        }
        None => once(&primary_url, &replica_url, options, &flags).await,
    }
}

async fn again_and_again(schedule: Schedule, metrics: SocketAddr, output: Output) -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::on_signal()?;
    let listener = listeners::metrics_alone(metrics).await?;
    tracing::info!(metrics = %listener.local_addr()?, every = ?schedule.every, "listening");
    let mut background = Background::new(&shutdown);
    background.serve_metrics(listener);
    let tell = |report: &Report| {
        if output == Output::Json {
            print(report, output);
        }
    };
    schedule.run(shutdown, tell).await;
    background.finish(FINISH_LIMIT).await?;
    tracing::info!("stopped");
    Ok(())
}

async fn once(primary_url: &str, replica_url: &str, options: Options, flags: &Flags) -> ExitCode {
    // Where signals can't be listened for, they end the program as they ever did, and its slot goes a second later.
    let options = Options { stop: Shutdown::on_signal().unwrap_or_default(), ..options };
    let bar = Bar::draw();
    let result = verify(primary_url, replica_url, &options, flags, |phase| bar.show(phase)).await;
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
