//! One load from its first command until the replica has all of it, with what it cost.

use std::num::NonZeroU32;

use super::answers::Ledger;
use super::batch_sizes::BatchSizes;
use super::bed::Bed;
use super::load::{self, Tally};
use super::loader::{Loader, Way};
use super::pgbench::{self, Pgbench};
use super::replica_lag::{Lag, drain};
use super::usage::{Usage, cluster_cpu_seconds};

/// What works on the databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// So many clients of pgbench.
    Pgbench(u32),
    /// Callers of the command service.
    Callers {
        /// How many.
        callers: u32,
        /// Of a hundred commands, how many only the database can refuse.
        refused_percent: u32,
    },
    /// So many sales at once.
    Bulk {
        /// How many.
        sales: u64,
        /// Which way.
        way: Way,
    },
}

impl Load {
    /// So many callers whose commands are all good.
    pub fn callers(callers: u32) -> Load {
        Load::Callers { callers, refused_percent: 0 }
    }

    /// Whether it is ours that is measured, and not a peer.
    pub fn is_ours(self) -> bool {
        match self {
            Load::Pgbench(_) => false,
            Load::Callers { .. } => true,
            Load::Bulk { way, .. } => way.is_ours(),
        }
    }

    /// How many work at once.
    pub fn width(self) -> u32 {
        match self {
            Load::Bulk { .. } => 1,
            Load::Pgbench(clients) => clients,
            Load::Callers { callers, .. } => callers,
        }
    }

    /// For people.
    pub fn name(self) -> String {
        match self {
            Load::Pgbench(clients) => format!("pgbench, {clients} clients"),
            Load::Callers { callers, refused_percent: 0 } => format!("Tandem, {callers} callers"),
            Load::Callers { callers, refused_percent } => {
                format!("Tandem, {callers} callers, {refused_percent}% refused")
            }
            Load::Bulk { way, .. } => way.name().to_owned(),
        }
    }
}

/// What came of a load.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What became of the commands.
    pub tally: Tally,
    /// CPU time of the command service during the load.
    pub service_cpu_seconds: Option<f64>,
    /// The most memory the command service had at once, so far.
    pub service_peak_memory_bytes: Option<u64>,
    /// CPU time of the primary until the replica had everything.
    pub primary_cpu_seconds: Option<f64>,
    /// The same of the replica.
    pub replica_cpu_seconds: Option<f64>,
    /// What the service committed at once, where it tells.
    pub batches: Option<BatchSizes>,
    /// The replica when the load ended.
    pub lag: Lag,
}

/// How loads are applied.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// For how long each.
    pub seconds: NonZeroU32,
    /// HTTP/2 connections of all callers together.
    pub connections: NonZeroU32,
    /// Threads of the load generator.
    pub generator_threads: NonZeroU32,
    /// Threads of pgbench.
    pub pgbench_threads: u32,
}

impl Default for Manner {
    /// One of each, for a second.
    fn default() -> Self {
        let one = NonZeroU32::MIN;
        Manner { seconds: one, connections: one, generator_threads: one, pgbench_threads: 1 }
    }
}

/// A bed, the peer, and what both sides say they have written.
#[derive(Debug)]
pub struct Bench {
    /// What is measured.
    pub bed: Bed,
    /// The peer.
    pub pgbench: Pgbench,
    /// Many sales at once.
    pub loader: Loader,
    /// What was acknowledged so far.
    pub ledger: Ledger,
    /// How loads are applied.
    pub manner: Manner,
}

/// A load that has ended.
enum Ended {
    Pgbench(pgbench::Ended),
    Told(Tally),
}

/// Processor time so far.
struct Costs {
    service: Option<Usage>,
    primary: Option<f64>,
    replica: Option<f64>,
}

impl Bench {
    /// Applies a load in a closed loop.
    ///
    /// # Errors
    ///
    /// [`Void`](super::Void) where something came back that must not; others where it can't be measured.
    pub async fn measure(&mut self, load: Load) -> anyhow::Result<Sample> {
        self.apply(load, None).await
    }

    /// Sends commands at a given rate, whatever becomes of earlier ones; the load's callers bound what is under way.
    ///
    /// # Errors
    ///
    /// As [`Bench::measure`].
    pub async fn measure_open(&mut self, load: Load, rate: f64) -> anyhow::Result<Sample> {
        self.apply(load, Some(rate)).await
    }

    async fn apply(&mut self, load: Load, rate: Option<f64>) -> anyhow::Result<Sample> {
        if let Load::Bulk { sales, way } = load {
            self.loader.prepare(sales, way)?;
        }
        let before = self.costs();
        let batches_before = self.batches().await?;
        let ended = self.run(load, rate).await?;
        // Nothing that takes time stands between the end of the load and the look at the lag.
        let service = self.bed.service.usage();
        let lag = drain(&mut self.bed).await?;
        let after = self.costs();
        self.bed.service.check_alive()?;
        let batches = self.batches().await?;
        let tally = match ended {
            Ended::Pgbench(ended) => ended.tally()?,
            Ended::Told(tally) => tally,
        };
        self.ledger.enter(&load.name(), &tally, matches!(load, Load::Callers { .. }))?;
        let between = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
        let cpu = |usage: Option<Usage>| usage.map(|usage| usage.cpu_seconds);
        Ok(Sample {
            tally,
            service_cpu_seconds: between(cpu(before.service), cpu(service)),
            service_peak_memory_bytes: service.map(|usage| usage.peak_memory_bytes),
            primary_cpu_seconds: between(before.primary, after.primary),
            replica_cpu_seconds: between(before.replica, after.replica),
            batches: batches.map(|batches| batches.since(&batches_before.unwrap_or_default())),
            lag,
        })
    }

    async fn run(&mut self, load: Load, rate: Option<f64>) -> anyhow::Result<Ended> {
        let Manner { seconds, connections, generator_threads, pgbench_threads } = self.manner;
        match load {
            Load::Pgbench(clients) => {
                self.pgbench.run(clients, pgbench_threads, seconds.get()).await.map(Ended::Pgbench)
            }
            Load::Callers { callers, refused_percent } => {
                let callers = NonZeroU32::new(callers).unwrap_or(NonZeroU32::MIN);
                let address = self.bed.service.address;
                let threads = generator_threads;
                let args = load::Args { address, callers, connections, threads, seconds, refused_percent, rate };
                self.bed.generator.run(&args).await.map(Ended::Told)
            }
            Load::Bulk { sales, way } => self.loader.run(sales, way).await.map(Ended::Told),
        }
    }

    fn costs(&self) -> Costs {
        Costs {
            service: self.bed.service.usage(),
            primary: cluster_cpu_seconds(self.bed.pair.primary()),
            replica: cluster_cpu_seconds(self.bed.pair.replica()),
        }
    }

    async fn batches(&self) -> anyhow::Result<Option<BatchSizes>> {
        Ok(BatchSizes::parse(&self.bed.service.scrape().await?))
    }
}
