//! The command line of `cargo xtask seed`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use clap::ValueEnum;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::batch::{Batch, batch_id};
use super::batch_command::{import_id, run_batch};
use super::bulk;
use super::copy::copy;
use super::grpc::fill_batch;
use super::import::import_as;
use super::plan::{
    DEFAULT_BATCH_SIZE, DEFAULT_COPY_BATCH_SIZE, DEFAULT_CURRENCY, DEFAULT_DAYS, DEFAULT_RNG_SEED, Plan, rng_seed_after,
};
use super::progress::Outcome;
use crate::RunState;
use crate::terminal::{grouped, note};

/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Sales of a batch when nobody says.
const DEFAULT_BATCH: u64 = 100;

/// Sales of a batch: as many as one file and one look at them are still good for.
const MAX_BATCH: u32 = 1_000_000;

/// Calls in flight, or sales a database transaction.
const MAX_AT_ONCE: u32 = 10_000;

/// The services refuse sales that are later.
const LONGEST_AHEAD: TimeDelta = TimeDelta::days(1);

/// Makes sample sales.
///
/// The same seed, number, days and end give the same sales: through grpc a second run with them adds the same
/// sales once more, under new ids; with copy it is refused. Ctrl-C stops cleanly.
///
/// With --batch-id the sales are a batch: registered in tandem.batch_control, which replicas show too, COMPLETED with a
/// position behind them, or FAILED with the reason. A batch that is complete already is left as it is, so the command can
/// be repeated.
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub struct Args {
    /// How many sales.
    #[arg(long, default_value_t = 10_000, conflicts_with = "batch_id")]
    pub sales: u64,

    /// Which way they go in.
    #[arg(long, value_enum, default_value_t = Via::Grpc)]
    pub via: Via,

    /// Over how many whole days they spread.
    #[arg(long, default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub days: u32,

    /// What the generator starts from [default: 1 for an empty primary, else another, which is printed].
    #[arg(long)]
    pub rng_seed: Option<u64>,

    /// Calls in flight (grpc), or sales a database transaction (copy), at most 10000 [default: 100, with copy 5000]. With
    /// --batch-id how many sales the batch has, at most 1000000 [default: 100].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=MAX_BATCH.into()))]
    pub batch_size: Option<u32>,

    /// Makes the sales a batch of this id: letters, digits and . _ : - up to 100; with --via import a UUID, which is the
    /// import id.
    #[arg(long, value_name = "ID", value_parser = batch_id)]
    pub batch_id: Option<String>,

    /// Writes the batch as feed files: DIRECTORY/ID.sales_transaction.csv and DIRECTORY/ID.sales_item.csv.
    #[arg(long, value_name = "DIRECTORY", requires = "batch_id")]
    pub csv: Option<PathBuf>,

    /// Takes flags from a TOML file, such as batch_size = 500; those on the command line win.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,

    /// End of the last day, such as 2026-01-31T00:00:00Z [default: today's midnight, UTC].
    #[arg(long, value_name = "TIMESTAMP", value_parser = until)]
    pub until: Option<DateTime<Utc>>,

    /// The currency that the command service takes [default: that of the running pair].
    #[arg(long, env = "TANDEM_CURRENCY")]
    pub currency: Option<String>,

    /// The command service, as host:port or URL [default: that of the running pair].
    #[arg(long, value_name = "ADDRESS")]
    pub command_address: Option<String>,

    /// The primary, for --via copy and bulk [default: that of the running pair].
    #[arg(long, value_name = "URL")]
    pub primary_url: Option<String>,

    /// The replica, for --via bulk; together with --primary-url.
    #[arg(long, value_name = "URL")]
    pub replica_url: Option<String>,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Which way the sales go in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// Through the command service.
    Grpc,
    /// Through the command service in one long stream, checked by its receipt; faster.
    Import,
    /// With COPY straight into the primary, constraints live; much faster.
    Copy,
    /// Into both sides of an empty pair at once, keys added after the rows; the fastest. Nobody can read or write sales
    /// meanwhile; all of them are there at its end, or none. Refused where the primary holds sales, or has more than one
    /// replica.
    Bulk,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line for people.
    Text,
    /// One JSON object.
    Json,
}

/// A time that the services will take, in the one form that says its zone.
fn until(text: &str) -> Result<DateTime<Utc>, String> {
    let until: DateTime<Utc> = text.parse().map_err(|error| format!("{error}; write it like 2026-11-20T00:00:00Z"))?;
    if until > Utc::now() + LONGEST_AHEAD {
        return Err("it is more than a day from now, and no later sale is taken".to_owned());
    }
    Ok(until)
}

/// Where the sales go.
pub(super) struct Target {
    command_address: Option<String>,
    pub(super) primary_url: Option<String>,
    replica_url: Option<String>,
    currency: Option<String>,
}

impl Target {
    /// What is asked for, else the running pair.
    fn find(args: &Args) -> anyhow::Result<Target> {
        let named = match args.via {
            Via::Grpc | Via::Import => args.command_address.is_some(),
            Via::Copy => args.primary_url.is_some(),
            Via::Bulk => {
                let (primary, replica) = (args.primary_url.is_some(), args.replica_url.is_some());
                ensure!(primary == replica, "a bulk load needs --primary-url and --replica-url, or neither");
                primary
            }
        };
        if named {
            let (command_address, primary_url) = (args.command_address.clone(), args.primary_url.clone());
            return Ok(Target { command_address, primary_url, replica_url: args.replica_url.clone(), currency: None });
        }
        let state = RunState::load()?;
        let replicas = state.replicas().len();
        ensure!(
            args.via != Via::Bulk || replicas == 1,
            "a bulk load writes to the primary and one replica, and the running pair has {replicas} replicas: the others \
             would miss these sales. Use --via copy, which reaches all of them"
        );
        Ok(Target {
            command_address: Some(state.command_address),
            primary_url: Some(state.primary.admin_url),
            replica_url: Some(state.replica.admin_url),
            currency: Some(state.currency),
        })
    }

    fn currency(&self, asked: Option<&str>) -> anyhow::Result<String> {
        if let (Some(asked), Some(taken)) = (asked, &self.currency) {
            ensure!(
                asked == taken,
                "the running pair takes {taken} and no {asked}: leave --currency (TANDEM_CURRENCY) out, \
                 or start the pair with TANDEM_CURRENCY={asked}"
            );
        }
        Ok(asked.or(self.currency.as_deref()).unwrap_or(DEFAULT_CURRENCY).to_owned())
    }

    /// A seed that has made none of the sales that are there, said aloud where it is not the first.
    async fn rng_seed(&self) -> anyhow::Result<u64> {
        let Some(url) = &self.primary_url else {
            // A service alone does not say what it holds; no two runs begin in the same microsecond.
            let rng_seed = Utc::now().timestamp_micros().unsigned_abs();
            note(&format!("--rng-seed {rng_seed} makes these sales again"));
            return Ok(rng_seed);
        };
        let there = count_sales(url).await?;
        let rng_seed = rng_seed_after(there);
        if rng_seed != DEFAULT_RNG_SEED {
            let there = grouped(there);
            note(&format!("the primary holds {there} sales: --rng-seed {rng_seed} makes others, and these again"));
        }
        Ok(rng_seed)
    }
}

async fn count_sales(primary_url: &str) -> anyhow::Result<u64> {
    let mut primary = PgConnection::connect(primary_url)
        .await
        .context("the primary can't be reached: start it with `cargo xtask up`, or name it with --primary-url")?;
    let count: i64 = sqlx::query_scalar("select count(*) from sales.sales_transaction")
        .fetch_one(&mut primary)
        .await
        .context("the primary's sales can't be counted")?;
    primary.close().await?;
    Ok(count.unsigned_abs())
}

impl Args {
    async fn plan(&self, target: &Target) -> anyhow::Result<Plan> {
        let currency = target.currency(self.currency.as_deref())?;
        let rng_seed = match self.rng_seed {
            Some(asked) => asked,
            None => target.rng_seed().await?,
        };
        let default = match self.via {
            Via::Grpc | Via::Import => DEFAULT_BATCH_SIZE,
            Via::Copy | Via::Bulk => DEFAULT_COPY_BATCH_SIZE,
        };
        // Of a batch the size is how many sales it has.
        let (sales, at_once) = match self.batch_id {
            Some(_) => (self.batch_size.map_or(DEFAULT_BATCH, u64::from), None),
            None => (self.sales, self.batch_size),
        };
        ensure!(
            at_once.is_none_or(|at_once| at_once <= MAX_AT_ONCE),
            "--batch-size is at most {MAX_AT_ONCE}, unless it is that of a batch, which --batch-id names"
        );
        Ok(Plan {
            sales,
            days: self.days,
            rng_seed,
            batch_size: at_once.map_or(Ok(default), usize::try_from)?,
            until: self.until,
            currency,
        })
    }
}

/// Runs the command: exit code 0 when all sales are in, 130 when Ctrl-C stopped it.
///
/// # Errors
///
/// No pair runs, or it refuses a sale.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.sales == 0 && args.output == Output::Text {
        note("no sales were asked for: nothing to do");
        return Ok(ExitCode::SUCCESS);
    }
    let target = Target::find(args)?;
    let outcome = match &args.batch_id {
        Some(batch_id) => run_batch(args, &target, batch_id).await?,
        None => write(args, &target, None).await?,
    };
    match args.output {
        Output::Text => println!("{outcome}"),
        Output::Json => println!("{}", serde_json::to_string(&outcome)?),
    }
    Ok(if outcome.stopped { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// Writes the sales, which may be a batch.
pub(super) async fn write(args: &Args, target: &Target, batch: Option<&mut Batch>) -> anyhow::Result<Outcome> {
    let plan = args.plan(target).await?;
    let address = || target.command_address.as_deref().context("no command service is named: --command-address");
    let primary = || target.primary_url.as_deref().context("no primary is named: --primary-url");
    match args.via {
        Via::Grpc => fill_batch(address()?, &plan, batch, interrupt()).await,
        Via::Import => {
            let import_id = args.batch_id.as_deref().map_or_else(|| Ok(Uuid::new_v4()), import_id)?;
            import_as(import_id, address()?, &plan, interrupt()).await
        }
        Via::Copy => copy(primary()?, &plan, batch, interrupt()).await,
        Via::Bulk => {
            let replica = target.replica_url.as_deref().context("no replica is named: --replica-url")?;
            bulk(primary()?, replica, &plan, interrupt()).await
        }
    }
}

/// Resolves on Ctrl-C.
async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without the handler Ctrl-C still ends the process, only less cleanly.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_no_service_takes_is_refused() {
        let at = |ahead: TimeDelta| until(&(Utc::now() + ahead).to_rfc3339());
        assert!(at(TimeDelta::hours(23)).is_ok());
        assert!(at(TimeDelta::hours(25)).unwrap_err().contains("more than a day"));
    }

    #[test]
    fn an_end_in_another_form_is_told_the_form() {
        for wrong in ["tomorrow", "2026-11-20", "2026-11-20T00:00:00"] {
            assert!(until(wrong).unwrap_err().contains("2026-11-20T00:00:00Z"));
        }
    }

    #[test]
    fn a_currency_that_the_pair_does_not_take_is_refused_for_all_ways() {
        let pair =
            Target { command_address: None, primary_url: None, replica_url: None, currency: Some("IDR".to_owned()) };
        assert_eq!(pair.currency(None).unwrap(), "IDR");
        assert_eq!(pair.currency(Some("IDR")).unwrap(), "IDR");
        assert!(pair.currency(Some("USD")).unwrap_err().to_string().contains("IDR"));
        let elsewhere = Target { currency: None, ..pair };
        assert_eq!(elsewhere.currency(Some("EUR")).unwrap(), "EUR");
    }
}
