//! The command line of `cargo xtask seed`.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::ValueEnum;

use super::plan::{
    DEFAULT_BATCH_SIZE, DEFAULT_COPY_BATCH_SIZE, DEFAULT_CURRENCY, DEFAULT_DAYS, DEFAULT_RNG_SEED, Plan,
};
use super::{copy, fill};
use crate::RunState;

/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Makes sample sales.
///
/// The same seed, number, days and end give the same sales. Ctrl-C stops cleanly.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many sales.
    #[arg(long, default_value_t = 10_000)]
    pub sales: u64,

    /// Which way they go in.
    #[arg(long, value_enum, default_value_t = Via::Grpc)]
    pub via: Via,

    /// Over how many whole days they spread.
    #[arg(long, default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub days: u32,

    /// What the generator starts from.
    #[arg(long, default_value_t = DEFAULT_RNG_SEED)]
    pub rng_seed: u64,

    /// Calls in flight (grpc), or sales a database transaction (copy) [default: 100, with copy 5000].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub batch_size: Option<u16>,

    /// End of the last day, such as 2026-01-31T00:00:00Z [default: today's midnight, UTC].
    #[arg(long, value_name = "TIMESTAMP")]
    pub until: Option<DateTime<Utc>>,

    /// The currency that the command service takes.
    #[arg(long, env = "TANDEM_CURRENCY", default_value = DEFAULT_CURRENCY)]
    pub currency: String,

    /// The command service, as host:port or URL [default: that of the running pair].
    #[arg(long, value_name = "ADDRESS")]
    pub command_address: Option<String>,

    /// The primary, for --via copy [default: that of the running pair].
    #[arg(long, value_name = "URL")]
    pub primary_url: Option<String>,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Which way the sales go in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// Through the command service.
    Grpc,
    /// With COPY straight into the primary; much faster.
    Copy,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line for people.
    Text,
    /// One JSON object.
    Json,
}

impl Args {
    fn plan(&self) -> Plan {
        let default = match self.via {
            Via::Grpc => DEFAULT_BATCH_SIZE,
            Via::Copy => DEFAULT_COPY_BATCH_SIZE,
        };
        Plan {
            sales: self.sales,
            days: self.days,
            rng_seed: self.rng_seed,
            batch_size: self.batch_size.map_or(default, usize::from),
            until: self.until,
            currency: self.currency.clone(),
        }
    }
}

/// Runs the command: exit code 0 when all sales are in, 130 when Ctrl-C stopped it.
///
/// # Errors
///
/// No pair runs, or it refuses a sale.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let plan = args.plan();
    let outcome = match args.via {
        Via::Grpc => {
            let address =
                args.command_address.clone().map_or_else(|| RunState::load().map(|it| it.command_address), Ok)?;
            fill(&address, &plan, interrupt()).await?
        }
        Via::Copy => {
            let url = args.primary_url.clone().map_or_else(|| RunState::load().map(|it| it.primary.admin_url), Ok)?;
            copy(&url, &plan, interrupt()).await?
        }
    };
    match args.output {
        Output::Text => println!("{outcome}"),
        Output::Json => println!("{}", serde_json::to_string(&outcome)?),
    }
    Ok(if outcome.stopped { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// Resolves on Ctrl-C.
async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without the handler Ctrl-C still ends the process, only less cleanly.
        std::future::pending::<()>().await;
    }
}
