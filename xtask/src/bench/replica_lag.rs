//! How far the replica is behind when a load ends, and how long it takes to drain.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use sqlx::PgConnection;
use tandem_replication::{ApplyProgress, Lsn, SUBSCRIPTION};

use super::bed::Bed;

/// A replica that is not there after this is broken and not slow.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);

/// Between looks: what they cost must not slow the replica down.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A replica behind its primary.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lag {
    /// WAL that was written and not yet visible on the replica when the load ended.
    pub bytes: u64,
    /// From then until everything that had been written was visible. Includes the pause of up to some seconds after
    /// which PostgreSQL tells it of WAL that holds nothing for the replica; the watermark's heartbeat bounds it.
    pub drain_seconds: f64,
}

/// Measures the lag of this moment and waits until it is gone.
///
/// # Errors
///
/// The replica does not get there, or a database does not answer.
pub async fn drain(bed: &mut Bed) -> anyhow::Result<Lag> {
    let since = Instant::now();
    let written: Lsn = sqlx::query_scalar("select pg_current_wal_insert_lsn()").fetch_one(&mut bed.primary).await?;
    let bytes = written.bytes_since(applied(&mut bed.replica).await?);
    while applied(&mut bed.replica).await? < written {
        ensure!(since.elapsed() < DRAIN_LIMIT, "the replica has not applied {written} after {DRAIN_LIMIT:?}");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(Lag { bytes, drain_seconds: since.elapsed().as_secs_f64() })
}

async fn applied(replica: &mut PgConnection) -> anyhow::Result<Lsn> {
    let progress = ApplyProgress::of(replica, SUBSCRIPTION).await.context("the replica does not answer")?;
    Ok(progress.applied_lsn.unwrap_or_default())
}
