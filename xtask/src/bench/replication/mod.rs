//! `bench replication`: how the replica keeps up, rows R1 (a backlog, with rollups and without) and R2 (the lag under load).

mod backlog;
mod lag;

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::json;

use super::bed::{Bed, DATABASES};
use super::comparison::Findings;
use super::conclusion::{Output, conclude};
use super::disk::fdatasyncs_per_second;
use super::machine::{self, Machine, Run};
use super::pgbench::Pgbench;
use super::plot;
use super::programs::{Profile, Programs};
use super::statistics::rounded;

/// Measures how fast the replica applies a backlog with rollups and without, and how far it is behind under full load.
///
/// Exit codes: 0 it ran, whether targets hold or not; 2 an answer was wrong and the run is void; 1 it could not be run.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Sales of R1's backlog.
    #[arg(long, default_value = "150000")]
    pub sales: NonZeroU64,

    /// How often both replicas apply a backlog in turn; five or more make a figure.
    #[arg(long, default_value = "5")]
    pub rounds: NonZeroU32,

    /// How long callers write in R2.
    #[arg(long, default_value = "60")]
    pub seconds: NonZeroU32,

    /// Callers of R2.
    #[arg(long, default_value = "256")]
    pub callers: NonZeroU32,

    /// Which rows of BENCHMARKS, separated by commas [default: both].
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_delimiter = ',',
        default_value = "r1,r2",
        hide_default_value = true
    )]
    pub rows: Vec<RowId>,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// Draws how long each backlog took into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// A setting of both services that is not their default, such as TANDEM_LOG=warn; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::write::setting)]
    pub service_env: Vec<(String, String)>,

    /// How programs are built.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    pub profile: Profile,

    /// Builds nothing and takes tandem-command, tandem-query and xtask from here: another commit's, say.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "profile")]
    pub bin_dir: Option<PathBuf>,
}

/// A row of the table of benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum RowId {
    /// Apply of a backlog with rollups, against without.
    R1,
    /// The lag while callers write as fast as they can.
    R2,
}

/// Runs the measurement and prints what it found.
///
/// # Errors
///
/// It could not be run. A run that was void is no error but exit code 2, and a target that was missed is neither.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    conclude(measure(args), args.output, args.svg.as_deref(), picture).await
}

async fn measure(args: &Args) -> anyhow::Result<Findings> {
    let load_before = machine::load();
    let programs = match &args.bin_dir {
        Some(directory) => Programs::built(directory)?,
        None => Programs::build(args.profile).await?,
    };
    let wanted: BTreeSet<RowId> = args.rows.iter().copied().collect();
    let mut rows = Vec::new();
    // The second replica is R1's: R2 has the pair that `up` makes.
    let further = u8::from(wanted.contains(&RowId::R1));
    let mut bed = Bed::with_further_replicas(further, &programs, &args.service_env).await?;
    let installation = bed.pair.primary().installation();
    let fdatasyncs_per_second = fdatasyncs_per_second(installation, &bed.directory).await?;
    let machine = Machine::of(Run {
        postgresql: installation.version,
        pgbench: Pgbench::prepare(&bed)?.version(),
        profile: if args.bin_dir.is_some() { "given" } else { args.profile.name() },
        load_before,
        fdatasyncs_per_second: rounded(fdatasyncs_per_second, 0),
        settings: json!({
            "rounds": args.rounds, "sales": args.sales, "seconds": args.seconds, "callers": args.callers,
            "databases": DATABASES,
            "service": args.service_env.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        }),
    });
    if wanted.contains(&RowId::R1) {
        rows.extend(backlog::measure(&mut bed, &programs, args).await?);
        if wanted.contains(&RowId::R2) {
            drop(bed);
            bed = Bed::start(&programs, &args.service_env).await?;
        }
    }
    if wanted.contains(&RowId::R2) {
        rows.extend(lag::measure(&mut bed, &programs, args).await?);
    }
    Ok(Findings { machine, rows })
}

fn picture(findings: &Findings) -> anyhow::Result<String> {
    let mut bars = Vec::new();
    for row in findings.rows.iter().filter(|row| row.id == "R1") {
        let milliseconds =
            |rates: &[f64]| rates.iter().map(|rate| row_milliseconds(findings, *rate)).collect::<Vec<_>>();
        bars.push((row.detail.ours.name.clone(), milliseconds(&row.detail.ours.rounds), true));
        if let Some(peer) = &row.detail.peer {
            bars.push((peer.name.clone(), milliseconds(&peer.rounds), false));
        }
    }
    plot::milliseconds("A backlog that the replica applies", &bars)
}

/// How long a backlog took that was applied at this many rows a second.
fn row_milliseconds(findings: &Findings, rate: f64) -> f64 {
    let sales = findings.machine.settings["sales"].as_f64().unwrap_or_default();
    sales * backlog::ROWS_A_SALE as f64 * 1_000.0 / rate
}
