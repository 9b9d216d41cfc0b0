//! The run from its builds to its last proof.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::super::answers::{Ledger, Void, check_whole};
use super::super::bed::{Bed, DATABASES};
use super::super::disk::fdatasyncs_per_second;
use super::super::loader::{Loader, Way};
use super::super::machine::{self, Machine, Run};
use super::super::measure::{Bench, Load, Manner, Sample};
use super::super::pgbench::Pgbench;
use super::super::programs::Programs;
use super::super::replica_lag::drain;
use super::super::report::{Detail, Report, Row};
use super::super::side::Side;
use super::super::statistics::{Spread, rounded};
use super::Args;
use crate::seed::definition;

/// Times as fast as the peer.
const TARGET: f64 = 1.5;

/// A load of this share warms both sides up.
const WARM_UP_SHARE: u64 = 20;

/// Redraws the clock while a load is under way.
const TICK: Duration = Duration::from_millis(200);

/// In the order of a round.
const WAYS: [Way; 2] = [Way::SeedBulk, Way::CopyInParts];

/// Measures.
///
/// # Errors
///
/// [`Void`] where an answer was wrong; others where it could not be run.
pub async fn run(args: &Args) -> anyhow::Result<Report> {
    let load_before = machine::load();
    let progress = progress(args.rounds.get());
    progress.set_message("building");
    let programs = match &args.bin_dir {
        Some(directory) => Programs::built(directory)?,
        None => Programs::build(args.profile).await?,
    };
    progress.set_message("starting a pair");
    let bed = Bed::start(&programs, &[]).await?;
    let fdatasyncs_per_second = fdatasyncs_per_second(bed.pair.primary().installation(), &bed.directory).await?;
    let pgbench = Pgbench::prepare(&bed)?;
    let loader = Loader::new(&bed, &programs)?;
    let machine = Machine::of(Run {
        postgresql: bed.pair.primary().installation().version,
        pgbench: None,
        profile: if args.bin_dir.is_some() { "given" } else { args.profile.name() },
        load_before,
        fdatasyncs_per_second: rounded(fdatasyncs_per_second, 0),
        settings: json!({
            "rounds": args.rounds,
            "sales": args.sales,
            "databases": DATABASES,
        }),
    });
    let bench = Bench { bed, pgbench, loader, ledger: Ledger::default(), manner: Manner::default() };
    let mut runner = Runner { bench, progress };
    let samples = runner.rounds(args).await?;
    runner.progress.finish_and_clear();
    let row = row(args.sales.get(), &samples).context("there is at least one round")?;
    Ok(Report { machine, rows: vec![row] })
}

fn progress(rounds: u32) -> ProgressBar {
    let loads = (u64::from(rounds) + 1) * WAYS.len() as u64;
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(loads) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {elapsed}  {msg}");
    bar.set_style(style.expect("the template is a constant that parses"));
    bar.enable_steady_tick(TICK);
    bar
}

/// Samples of each way, one a round.
type Samples = [Vec<Sample>; WAYS.len()];

/// Ours is the first way.
fn row(sales: u64, samples: &Samples) -> Option<Row> {
    let [ours, peer] = samples;
    let rate = |sample: &Sample| sample.tally.rate();
    let ratios: Vec<f64> = ours.iter().zip(peer).map(|(ours, peer)| rate(ours) / rate(peer)).collect();
    let [ours, peer] = [0, 1].map(|way: usize| Side::of(Load::Bulk { sales, way: WAYS[way] }, &samples[way]));
    let detail = Detail {
        work: format!("{} against {}", ours.load, peer.load),
        ratios: ratios.iter().map(|ratio| rounded(*ratio, 3)).collect(),
        ours,
        peer,
        other_peers: Vec::new(),
        until_equal: None,
        open_loop: Vec::new(),
    };
    Some(Row::new("S1", TARGET, Spread::of(&ratios)?, detail))
}

/// Loads and shows how far it is.
struct Runner {
    bench: Bench,
    progress: ProgressBar,
}

impl Runner {
    async fn rounds(&mut self, args: &Args) -> anyhow::Result<Samples> {
        let warm_up = args.sales.get().div_ceil(WARM_UP_SHARE);
        for way in WAYS {
            self.load(warm_up, way, "warming up").await?;
        }
        let mut samples = Samples::default();
        for round in 1..=args.rounds.get() {
            let when = format!("round {round} of {}", args.rounds);
            for (way, samples) in WAYS.into_iter().zip(&mut samples) {
                samples.push(self.load(args.sales.get(), way, &when).await?);
            }
        }
        Ok(samples)
    }

    /// From an empty pair to an empty pair. The time counts until the replica has everything.
    async fn load(&mut self, sales: u64, way: Way, when: &str) -> anyhow::Result<Sample> {
        self.progress.set_message(format!("{when}: {}", way.name()));
        let defined = self.definitions().await?;
        self.bench.bed.checkpoint().await?;
        let mut sample = self.bench.measure(Load::Bulk { sales, way }).await?;
        sample.tally.seconds += sample.lag.drain_seconds;
        self.progress.set_message(format!("{when}: proving that both databases are equal"));
        // The proofs are planned by what the tables held before, else, and take minutes.
        self.bench.bed.analyze().await?;
        self.bench.ledger.check(&mut self.bench.bed.primary).await?;
        check_whole(&mut self.bench.bed).await?;
        if self.definitions().await? != defined {
            return Err(Void(format!("{} left tables that are defined otherwise", way.name())).into());
        }
        self.empty().await?;
        self.progress.inc(1);
        Ok(sample)
    }

    async fn definitions(&mut self) -> anyhow::Result<[Vec<String>; 2]> {
        let Bed { primary, replica, .. } = &mut self.bench.bed;
        Ok([definition(primary).await?, definition(replica).await?])
    }

    async fn empty(&mut self) -> anyhow::Result<()> {
        sqlx::query("truncate sales.sales_transaction, sales.sales_item")
            .execute(&mut self.bench.bed.primary)
            .await
            .context("the pair can't be emptied")?;
        drain(&mut self.bench.bed).await?;
        self.bench.ledger = Ledger::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::side::tests::sample;
    use super::*;

    #[test]
    fn the_row_tells_how_many_times_as_fast_as_the_peer_a_load_is() {
        let samples = [[300, 330, 200].map(sample).to_vec(), [100, 300, 100].map(sample).to_vec()];
        let row = row(1_000, &samples).unwrap();
        assert_eq!((row.id, row.ratio, row.low, row.high, row.holds), ("S1", 2.0, 1.1, 3.0, true));
        assert_eq!((row.detail.ours.is_ours, row.detail.peer.is_ours), (true, false));
    }
}
