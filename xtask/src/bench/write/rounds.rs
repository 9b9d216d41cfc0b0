//! The run from its builds to its last proof.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::super::answers::{Ledger, check_whole};
use super::super::bed::{Bed, DATABASES};
use super::super::disk::fdatasyncs_per_second;
use super::super::loader::Loader;
use super::super::machine::{self, Machine, Run};
use super::super::measure::{Bench, Load, Manner, Sample};
use super::super::pgbench::Pgbench;
use super::super::programs::Programs;
use super::super::report::{OpenLoop, Report};
use super::super::side::Side;
use super::super::statistics::{median, rounded};
use super::arguments::Args;
use super::rows::{OPEN_LOOP_SHARES, Plan, Samples};

/// Redraws the clock while a load is applied.
const TICK: Duration = Duration::from_millis(200);

/// Loads before the first round: one to fill the tables, two of pgbench to choose its threads, one of ours.
const WARM_UP_LOADS: usize = 4;

/// Measures.
///
/// # Errors
///
/// [`Void`](super::super::Void) where an answer was wrong; others where it could not be run.
pub async fn run(args: &Args) -> anyhow::Result<Report> {
    let load_before = machine::load();
    let progress = progress(args);
    progress.set_message("building");
    let programs = match &args.bin_dir {
        Some(directory) => Programs::built(directory)?,
        None => Programs::build(args.profile).await?,
    };
    progress.set_message("starting a pair");
    let bed = Bed::start(&programs, &args.service_env).await?;
    let fdatasyncs_per_second = fdatasyncs_per_second(bed.pair.primary().installation(), &bed.directory).await?;
    let pgbench = Pgbench::prepare(&bed)?;
    let loader = Loader::new(&bed, &programs)?;
    let mut machine = Machine::of(Run {
        postgresql: bed.pair.primary().installation().version,
        pgbench: pgbench.version(),
        profile: if args.bin_dir.is_some() { "given" } else { args.profile.name() },
        load_before,
        fdatasyncs_per_second: rounded(fdatasyncs_per_second, 0),
        settings: settings(args),
    });
    let manner = Manner {
        seconds: args.seconds,
        connections: args.connections,
        generator_threads: args.generator_threads,
        pgbench_threads: 1,
    };
    let mut runner = Runner { bench: Bench { bed, pgbench, loader, ledger: Ledger::default(), manner }, progress };
    let plan = Plan::of(args);
    machine.settings["pgbench_threads"] = json!(runner.warm_up(&plan).await?);
    let samples = runner.rounds(&plan, args.rounds.get()).await?;
    let open_loop = if plan.wants_open_loop() { runner.open_loop(&plan, &samples).await? } else { Vec::new() };
    runner.progress.set_message("proving that both databases are equal");
    check_whole(&mut runner.bench.bed).await?;
    runner.progress.finish_and_clear();
    Ok(Report { machine, rows: plan.rows(&samples, &open_loop) })
}

fn settings(args: &Args) -> serde_json::Value {
    json!({
        "rounds": args.rounds,
        "seconds": args.seconds,
        "callers": args.callers,
        "connections": args.connections,
        "generator_threads": args.generator_threads,
        "service": args.service_env.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "databases": DATABASES,
    })
}

fn progress(args: &Args) -> ProgressBar {
    let loads = Plan::of(args).loads().len() * args.rounds.get() as usize + WARM_UP_LOADS;
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(loads as u64) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {elapsed}  {msg}");
    bar.set_style(style.expect("the template is a constant that parses"));
    bar.enable_steady_tick(TICK);
    bar
}

/// Applies loads and shows how far it is.
struct Runner {
    bench: Bench,
    progress: ProgressBar,
}

impl Runner {
    async fn measure(&mut self, load: Load, when: &str) -> anyhow::Result<Sample> {
        self.progress.set_message(format!("{when}: {}", load.name()));
        let sample = self.bench.measure(load).await?;
        self.progress.inc(1);
        Ok(sample)
    }

    /// Fills the tables, has them analyzed, and finds out how many threads serve pgbench best; how many.
    async fn warm_up(&mut self, plan: &Plan) -> anyhow::Result<u32> {
        let when = "warming up";
        self.measure(plan.most(), when).await?;
        self.bench.bed.analyze().await?;
        let mut best = (0.0, 1);
        for threads in [1, 2] {
            self.bench.manner.pgbench_threads = threads;
            let rate = self.measure(Load::Pgbench(plan.some_clients()), when).await?.tally.rate();
            if rate > best.0 {
                best = (rate, threads);
            }
        }
        self.bench.manner.pgbench_threads = best.1;
        self.measure(plan.most(), when).await?;
        self.bench.bed.analyze().await?;
        self.check_answers().await?;
        Ok(best.1)
    }

    async fn rounds(&mut self, plan: &Plan, rounds: u32) -> anyhow::Result<Samples> {
        let mut samples = Samples::new();
        for round in 1..=rounds {
            self.bench.bed.checkpoint().await?;
            for load in plan.loads() {
                let sample = self.measure(load, &format!("round {round} of {rounds}")).await?;
                samples.entry(load).or_default().push(sample);
            }
            self.check_answers().await?;
        }
        Ok(samples)
    }

    async fn open_loop(&mut self, plan: &Plan, samples: &Samples) -> anyhow::Result<Vec<OpenLoop>> {
        let load = plan.most();
        let rates: Vec<f64> = samples[&load].iter().map(|sample| sample.tally.rate()).collect();
        let highest = median(&rates).unwrap_or_default();
        let mut open_loop = Vec::new();
        for share in OPEN_LOOP_SHARES {
            self.progress.set_message(format!("open loop at {:.0}%", share * 100.0));
            let meant_per_second = rounded(highest * share, 1);
            let sample = self.bench.measure_open(load, meant_per_second).await?;
            open_loop.push(OpenLoop { share, meant_per_second, side: Side::of(load, &[sample]) });
        }
        self.check_answers().await?;
        Ok(open_loop)
    }

    async fn check_answers(&mut self) -> anyhow::Result<()> {
        self.bench.ledger.check(&mut self.bench.bed.primary).await
    }
}
