//! Many sales at once: ours, and psql's COPY of the same rows.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::bed::Bed;
use super::load::Tally;
use super::pgbench::{measured, program_beside, watch};
use super::programs::Programs;
use crate::places::write_atomically;
use crate::postgres::{DATABASE, Login};
use crate::seed::{Outcome, Plan, Segments, psql_commands};

/// How long a load may take: far more than it does.
const LIMIT: Duration = Duration::from_secs(900);

/// Sales a database transaction where psql writes in parts: with fewer, more time goes into commits; with more, the
/// replica begins later.
const PART: u64 = 50_000;

/// Which way many sales go in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// `seed --via bulk`.
    SeedBulk,
    /// psql reads files of headers and of items in turn, some sales a transaction, so that the replica works beside it.
    CopyInParts,
    /// psql reads a file of headers, then one of items, in one transaction.
    Copy,
    /// `seed --via import`: ImportTransactions.
    Import,
}

impl Way {
    /// Whether it is ours.
    pub fn is_ours(self) -> bool {
        matches!(self, Way::SeedBulk | Way::Import)
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Way::SeedBulk => "seed --via bulk",
            Way::CopyInParts => "psql COPY, in parts",
            Way::Copy => "psql COPY, one transaction",
            Way::Import => "ImportTransactions",
        }
    }
}

/// Runs loads as processes.
#[derive(Debug)]
pub struct Loader {
    xtask: PathBuf,
    psql: PathBuf,
    password_file: PathBuf,
    directory: PathBuf,
    port: u16,
    primary_url: String,
    replica_url: String,
    command_address: SocketAddr,
    /// No two loads have the same ids.
    rng_seed: u64,
    prepared: Option<Prepared>,
}

/// What psql will read.
#[derive(Debug)]
struct Prepared {
    script: PathBuf,
    sales: u64,
    items: u64,
}

impl Loader {
    /// Finds psql.
    ///
    /// # Errors
    ///
    /// It is not on this machine.
    pub fn new(bed: &Bed, programs: &Programs) -> anyhow::Result<Loader> {
        let directory = bed.directory.join("rows");
        crate::places::create_directory(&directory, 0o755)?;
        let (port, role) = (bed.pair.primary().port(), Login::Command.role());
        let password_file = directory.join("pgpass");
        let line = format!("127.0.0.1:{port}:{DATABASE}:{role}:{}\n", bed.pair.passwords().expose(Login::Command));
        write_atomically(&password_file, line.as_bytes(), 0o600)?;
        Ok(Loader {
            xtask: programs.generator.clone(),
            psql: program_beside(bed.pair.primary().installation(), "psql")?,
            password_file,
            directory,
            port,
            primary_url: bed.pair.url(Login::PrimaryAdmin),
            replica_url: bed.pair.url(Login::ReplicaAdmin),
            command_address: bed.service.address,
            rng_seed: 0,
            prepared: None,
        })
    }

    /// Does what a load may find done: psql's files.
    ///
    /// # Errors
    ///
    /// They can't be written.
    pub fn prepare(&mut self, sales: u64, way: Way) -> anyhow::Result<()> {
        self.rng_seed += 1;
        let part = match way {
            Way::CopyInParts => PART,
            Way::Copy => sales,
            Way::SeedBulk | Way::Import => return Ok(()),
        };
        let plan = Plan { rng_seed: self.rng_seed, ..Plan::new(sales) };
        let mut prepared = Prepared { script: self.directory.join("copy.sql"), sales: 0, items: 0 };
        let mut script = String::new();
        for (number, segment) in Segments::of(&plan, usize::try_from(part)?).enumerate() {
            let [transactions, items] =
                ["transactions", "items"].map(|rows| self.directory.join(format!("{number}.{rows}")));
            fs::write(&transactions, &segment.transactions)?;
            fs::write(&items, &segment.items)?;
            let [copy_transactions, copy_items] = psql_commands([&transactions, &items]);
            writeln!(script, "begin;\n{copy_transactions}\n{copy_items}\ncommit;")?;
            prepared.sales += segment.share.sales;
            prepared.items += segment.share.items;
        }
        fs::write(&prepared.script, script)?;
        self.prepared = Some(prepared);
        Ok(())
    }

    /// Runs a load to its end. Dropping the future ends it.
    ///
    /// # Errors
    ///
    /// It can't be run, fails, or does not end.
    pub async fn run(&mut self, sales: u64, way: Way) -> anyhow::Result<Tally> {
        let command = match way {
            Way::SeedBulk => {
                self.seed(sales, &["bulk", "--primary-url", &self.primary_url, "--replica-url", &self.replica_url])
            }
            Way::Import => self.seed(sales, &["import", "--command-address", &self.command_address.to_string()]),
            Way::CopyInParts | Way::Copy => self.copy(&self.prepared.as_ref().context("no files are prepared")?.script),
        };
        let (said, mut tally) = self.execute(command, way).await?;
        let (stored, items) = match self.prepared.take() {
            Some(prepared) => (prepared.sales, prepared.items),
            None => {
                let outcome: Outcome = serde_json::from_slice(&said).context("what seed printed can't be read")?;
                (outcome.sales, outcome.items)
            }
        };
        ensure!(stored == sales, "{} wrote {stored} sales of {sales}", way.name());
        tally.acknowledged = stored;
        tally.items = Some(items);
        Ok(tally)
    }

    fn seed(&self, sales: u64, via: &[&str]) -> Command {
        let mut command = measured(&self.xtask, &self.password_file, &self.directory);
        command.args(["seed", "--output", "json", "--sales", &sales.to_string()]);
        command.args(["--rng-seed", &self.rng_seed.to_string(), "--via"]).args(via);
        command
    }

    fn copy(&self, script: &Path) -> Command {
        let mut command = measured(&self.psql, &self.password_file, &self.directory);
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", Login::Command.role(), DATABASE]);
        command
    }

    async fn execute(&self, mut command: Command, way: Way) -> anyhow::Result<(Vec<u8>, Tally)> {
        let since = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{} can't be run", way.name()))?;
        let usage = watch(&mut child, LIMIT).await?;
        let seconds = since.elapsed().as_secs_f64();
        let output = child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} failed:\n{}", way.name(), said.trim());
        Ok((output.stdout, Tally { seconds, usage, ..Tally::default() }))
    }
}
