//! `bench verify`: how long it takes to prove that both sides are equal, rows V1 (against bare hashing) and V2 (against sums of
//! MD5), and what that takes from those who write, row V3.

mod beside;
mod peers;
mod program;
mod rounds;

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::ValueEnum;
use serde_json::json;

use super::bed::{Bed, DATABASES};
use super::comparison::Findings;
use super::conclusion::{Output, conclude};
use super::disk::fdatasyncs_per_second;
use super::machine::{self, Machine, Run};
use super::plot;
use super::programs::{Profile, Programs};
use super::shop::Sales;
use super::statistics::rounded;
use program::Verifier;

/// Measures how long `tandem-verify` takes, and how fast callers write beside it.
///
/// Before that it has to find both sides equal, and then a row that was spoilt. Exit codes: 0 it ran, whether targets hold or
/// not; 2 an answer was wrong and the run is void; 1 it could not be run.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Sales on both sides, with three items each.
    #[arg(long, default_value = "1000000")]
    pub sales: NonZeroU64,

    /// How often everything is measured in turn; five or more make a figure.
    #[arg(long, default_value = "5")]
    pub rounds: NonZeroU32,

    /// How long callers write in V3, undisturbed and beside verifiers, in each round.
    #[arg(long, default_value = "10")]
    pub seconds: NonZeroU32,

    /// Callers of V3.
    #[arg(long, default_value = "256")]
    pub callers: NonZeroU32,

    /// Which rows of BENCHMARKS, separated by commas [default: all].
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_delimiter = ',',
        default_value = "v1,v2,v3",
        hide_default_value = true
    )]
    pub rows: Vec<RowId>,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// Draws how long each way took into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// A setting of the command service that is not its default, such as TANDEM_LOG=warn; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::write::setting)]
    pub service_env: Vec<(String, String)>,

    /// How programs are built.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    pub profile: Profile,

    /// Builds nothing and takes tandem-command, tandem-query, tandem-verify and xtask from here: another commit's, say.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "profile")]
    pub bin_dir: Option<PathBuf>,
}

/// A row of the table of benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum RowId {
    /// Nothing differs: against bare sums of `hash_record_extended`.
    V1,
    /// The same against sums of MD5.
    V2,
    /// How fast callers write meanwhile.
    V3,
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
    let program = programs.services.verifier();
    ensure!(program.is_file(), "{} is not there", program.display());
    let wanted: BTreeSet<RowId> = args.rows.iter().copied().collect();
    let mut bed = Bed::start(&programs, &args.service_env).await?;
    let installation = bed.pair.primary().installation();
    let fdatasyncs_per_second = fdatasyncs_per_second(installation, &bed.directory).await?;
    let machine = Machine::of(Run {
        postgresql: installation.version,
        pgbench: None,
        profile: if args.bin_dir.is_some() { "given" } else { args.profile.name() },
        load_before,
        fdatasyncs_per_second: rounded(fdatasyncs_per_second, 0),
        settings: json!({
            "rounds": args.rounds, "sales": args.sales, "seconds": args.seconds, "callers": args.callers,
            "databases": DATABASES,
            "service": args.service_env.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        }),
    });
    let sales = Sales::of_a_year(args.sales.get());
    bed.fill(&sales).await?;
    bed.checkpoint().await?;
    let verifier = Verifier::of(program, &bed);
    verifier.prove(&mut bed, &sales).await?;
    let mut rows = Vec::new();
    if wanted.contains(&RowId::V1) || wanted.contains(&RowId::V2) {
        rows.extend(rounds::measure(&verifier, &bed, args, &wanted).await?);
    }
    if wanted.contains(&RowId::V3) {
        rows.extend(beside::measure(&verifier, &mut bed, args).await?);
    }
    Ok(Findings { machine, rows })
}

fn picture(findings: &Findings) -> anyhow::Result<String> {
    let mut bars = Vec::new();
    for row in findings.rows.iter().filter(|row| row.detail.ours.unit == "ms") {
        let ours = (row.detail.ours.name.clone(), row.detail.ours.rounds.clone(), true);
        if !bars.contains(&ours) {
            bars.push(ours);
        }
        bars.extend(row.detail.peer.as_ref().map(|peer| (peer.name.clone(), peer.rounds.clone(), false)));
    }
    plot::milliseconds("Are both sides equal?", &bars)
}
