//! R2: how long what is committed takes to be visible, while callers write as fast as they can.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection};
use tandem_replication::{ApplyProgress, Lsn, SUBSCRIPTION};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::Latencies;
use super::super::answers::{Ledger, Void, check_whole};
use super::super::bed::Bed;
use super::super::comparison::{Aim, Comparison, Measured};
use super::super::programs::Programs;
use super::super::replica_lag::drain;
use super::super::statistics::rounded;
use super::super::usage::cluster_cpu_seconds;
use super::Args;
use crate::postgres::Login;

/// Seconds that 99 of 100 samples may take.
const TARGET: f64 = 1.0;

/// Seconds until everything is there once nobody writes any more.
const DRAIN_TARGET: f64 = 2.0;

/// Between samples: enough of them in a minute, and few beside the work.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(20);

/// A position that is not visible after this is lost.
const LIMIT: Duration = Duration::from_secs(120);

/// Writes for a while, looks at positions meanwhile, and drains.
///
/// # Errors
///
/// [`Void`] where an answer was wrong; others where it can't be measured.
pub async fn measure(bed: &mut Bed, programs: &Programs, args: &Args) -> anyhow::Result<Option<Comparison>> {
    let query = bed.start_query_service(programs, &args.service_env).await?;
    let mut ledger = Ledger::default();
    let warm_up = bed.write(args.callers, NonZeroU32::MIN).await?;
    ledger.enter("warming up", &warm_up, true)?;
    drain(bed).await?;
    bed.analyze().await?;
    bed.checkpoint().await?;
    let written = CancellationToken::new();
    let sampling = tokio::spawn(sample(
        PgConnection::connect(&bed.pair.url(Login::PrimaryAdmin)).await?,
        PgConnection::connect(&bed.pair.url(Login::ReplicaAdmin)).await?,
        written.clone(),
    ));
    let before = [cluster_cpu_seconds(bed.pair.primary()), cluster_cpu_seconds(bed.pair.replica())];
    let tally = bed.write(args.callers, args.seconds).await;
    written.cancel();
    let lag = drain(bed).await?;
    let after = [cluster_cpu_seconds(bed.pair.primary()), cluster_cpu_seconds(bed.pair.replica())];
    let tally = tally?;
    let latencies = sampling.await.context("the sampler panicked")??;
    ledger.enter("Tandem", &tally, true)?;
    ledger.check(&mut bed.primary).await?;
    check_whole(bed).await?;
    let at = |share| latencies.milliseconds_at(share);
    let p99 = at(0.99).ok_or_else(|| Void("nothing was sampled".to_owned()))? / 1_000.0;
    let between = |side: usize| before[side].zip(after[side]).map(|(before, after)| after - before);
    let mut ours = Measured::new(format!("lag at the replica, {} callers", args.callers), "s (p99)", &[p99])
        .cpu("primary", between(0), tally.acknowledged)
        .cpu("replica", between(1), tally.acknowledged)
        .memory("query_service", query.usage().map(|usage| usage.peak_memory_bytes));
    for (part, share) in [("p50_s", 0.5), ("p99_s", 0.99), ("most_s", 1.0)] {
        ours.parts.extend(at(share).map(|value| (part, rounded(value / 1_000.0, 4))));
    }
    let mut row = Comparison::new("R2", Aim::AtMost, TARGET, &[p99], ours, None)
        .map(|row| row.with("sales_per_second", rounded(tally.rate(), 0)).with("samples", latencies.calls()))
        .map(|row| row.with("drain_seconds", rounded(lag.drain_seconds, 3)).with("drain_target", DRAIN_TARGET));
    if let Some(row) = &mut row {
        row.holds &= lag.drain_seconds <= DRAIN_TARGET;
    }
    Ok(row)
}

/// How long positions of the primary take to be visible on the replica: those up to which it had flushed its log, which
/// is what it has acknowledged.
async fn sample(
    mut primary: PgConnection,
    mut replica: PgConnection,
    written: CancellationToken,
) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    let mut waiting: VecDeque<(Instant, Lsn)> = VecDeque::new();
    let mut ended = None;
    loop {
        if ended.is_none() {
            let now = Instant::now();
            let flushed: Lsn = sqlx::query_scalar("select pg_current_wal_flush_lsn()").fetch_one(&mut primary).await?;
            if waiting.back().is_none_or(|(_, last)| *last < flushed) {
                waiting.push_back((now, flushed));
            }
            ended = written.is_cancelled().then(Instant::now);
        }
        let applied = ApplyProgress::of(&mut replica, SUBSCRIPTION).await?.applied_lsn.unwrap_or_default();
        while let Some((since, _)) = waiting.pop_front_if(|(_, flushed)| *flushed <= applied) {
            latencies.record(since.elapsed());
        }
        match ended {
            Some(_) if waiting.is_empty() => return Ok(latencies),
            Some(since) => ensure!(since.elapsed() < LIMIT, "the replica is not there after {LIMIT:?}"),
            None => {}
        }
        sleep(BETWEEN_SAMPLES).await;
    }
}
