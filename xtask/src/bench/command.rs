//! The command line of `cargo xtask bench`.

use std::process::ExitCode;

use super::{load, read, replication, seed, verify, write};

/// How `bench` is called.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Sales written one by one: rows W1 to W4, against pgbench.
    Write(write::Args),
    /// A million sales into an empty pair: row S1, against COPY.
    Seed(seed::Args),
    /// Figures and single sales: rows Q1 to Q5 and L1, against SQL, DuckDB and pgbench.
    Read(read::Args),
    /// How the replica keeps up: rows R1 and R2.
    Replication(replication::Args),
    /// How long `verify` takes, and what it takes from those who write: rows V1 to V3.
    Verify(verify::Args),
    /// The load generator, which the other commands run as a process of its own.
    #[command(hide = true)]
    Generate(load::Args),
    /// The same, of readers.
    #[command(hide = true)]
    GenerateReads(load::reads::Args),
}

/// Runs one measurement.
///
/// # Errors
///
/// It could not be run. A run that was void is no error but exit code 2, and a target that was missed is neither.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Write(args) => write::run(args).await,
        What::Seed(args) => seed::run(args).await,
        What::Read(args) => read::run(args).await,
        What::Replication(args) => replication::run(args).await,
        What::Verify(args) => verify::run(args).await,
        What::Generate(args) => load::run(args).await,
        What::GenerateReads(args) => load::reads::run(args).await,
    }
}
