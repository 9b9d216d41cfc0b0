//! `bench seed`: a million sales into an empty pair, row S1, against COPY with constraints live.

mod rounds;

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::process::ExitCode;

use super::conclusion::{Output, conclude};
use super::plot;
use super::programs::Profile;
use super::report::Report;

/// Measures `seed --via bulk` against psql's COPY of the same rows, constraints live, through the subscription.
///
/// Each load begins with an empty pair and ends when the replica has everything; then rows and totals are counted, both
/// sides compared, constraints and indexes looked at. Exit codes: 0 it ran, whether the target holds or not; 2 an answer
/// was wrong and the run is void; 1 it could not be run.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How many sales.
    #[arg(long, default_value = "1000000")]
    pub sales: NonZeroU64,

    /// How often both sides are loaded in turn.
    #[arg(long, default_value = "3")]
    pub rounds: NonZeroU32,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// Draws how long each took into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// How programs are built.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    pub profile: Profile,

    /// Builds nothing and takes tandem-command, tandem-query and xtask from here: another commit's, say.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "profile")]
    pub bin_dir: Option<PathBuf>,
}

/// Runs the measurement and prints what it found.
///
/// # Errors
///
/// It could not be run. A run that was void is no error but exit code 2, and a target that was missed is neither.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    conclude(rounds::run(args), args.output, args.svg.as_deref(), picture).await
}

fn picture(report: &Report) -> anyhow::Result<String> {
    let title = "Sales into an empty pair, until both sides are equal";
    plot::seconds(title, &report.sides())
}
