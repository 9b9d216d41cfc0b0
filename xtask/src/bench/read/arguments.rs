//! The command line of `cargo xtask bench read`.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use clap::ValueEnum;

use super::super::conclusion::Output;
use super::super::programs::Profile;

/// Measures figures and single sales, against SQL on the base tables, DuckDB and pgbench.
///
/// Starts a durable pair of its own with both services, writes a year of sales, compares all answers, then asks in turn.
/// Exit codes: 0 it ran, whether targets hold or not; 2 an answer was wrong and the run is void; 1 it could not be run.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How many sales there are, of three items each; Q4 has a tenth beside them.
    #[arg(long, default_value = "1000000", value_parser = clap::value_parser!(u64).range(10_000..))]
    pub sales: u64,

    /// How often all sides are asked in turn; five or more make a figure.
    #[arg(long, default_value = "5")]
    pub rounds: NonZeroU32,

    /// How long each side reads single sales in each round (Q5).
    #[arg(long, default_value = "5")]
    pub seconds: NonZeroU32,

    /// Callers of Q5, and of those who write while L1 is measured.
    #[arg(long, default_value = "64")]
    pub callers: NonZeroU32,

    /// Sales that each side of L1 waits for in each round.
    #[arg(long, default_value = "100")]
    pub commits: NonZeroU32,

    /// Sales that the rollups do not hold yet when Q2 is asked.
    #[arg(long, default_value = "1000")]
    pub tail: NonZeroU64,

    /// Which rows of BENCHMARKS, separated by commas [default: all].
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_delimiter = ',',
        default_value = "q1,q2,q3,q4,q5,l1",
        hide_default_value = true
    )]
    pub rows: Vec<RowId>,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// Draws how long each side takes into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// A setting of the query service that is not its default, such as TANDEM_LOG=warn; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::super::write::setting)]
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
    /// Four questions over 30 days of 365, against the same SQL on the base tables.
    Q1,
    /// Hours by store over those days while some sales are not in the rollups, against the same.
    Q2,
    /// Q1 against DuckDB.
    Q3,
    /// Q1 against a tenth of the sales.
    Q4,
    /// GetTransaction against pgbench.
    Q5,
    /// From a commit until its sale can be read with the token, against the row itself.
    L1,
}
