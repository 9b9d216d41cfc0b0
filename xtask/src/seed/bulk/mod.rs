//! Sales into an empty pair, both sides at once: `seed --via bulk`.
//!
//! COPY with its constraints live spends most of its time on one trigger a row for the foreign key and on keys that grow
//! row by row, and the replica then does its part once more, decoded row by row. Here each side is loaded by one
//! database transaction of its own, both at the same time and from the same segments: lock, take off keys and indexes,
//! TRUNCATE, COPY FREEZE, put keys and indexes back. Putting them back checks every row.
//!
//! Why this is right:
//!
//! 1. *The stream does not bring the rows a second time.* In its transaction the primary takes the tables out of the
//!    publication before the first row and puts them back after the last. Decoding sees catalogs as they were at each
//!    change, so these changes are nobody's; the subscription is never stopped, and outside of the transaction the
//!    publication has never changed. Only this replica may read the stream: another slot refuses the load, asked after
//!    the transaction has written, since a slot that is made later waits for its end and begins behind it. (Were the
//!    rows published nevertheless, the TRUNCATE before them would be too, and the stream would load the replica once
//!    more: slow, and still right.)
//! 2. *No write of others is lost or overtaken.* From the lock to COMMIT nobody else writes sales on the primary; what
//!    they had written before has reached the replica before it is locked, which a watermark proves that is written after
//!    the primary's lock and seen on the replica. It also proves that this replica follows this primary. Whoever waits for
//!    the lock writes after COMMIT, is published as ever, and is applied after the replica's COMMIT.
//! 3. *A reader with a token sees what it stands for.* The replica commits before the primary, so no position behind
//!    the primary's COMMIT is known to anybody before the rows are there.
//! 4. *Everything is defined as before.* Definitions (columns, constraints, indexes, triggers, publications, grants) are
//!    compared inside of the transactions; a difference takes both back.
//!
//! Killed at any moment before the replica's COMMIT: both sides are as before. Killed between the two COMMITs, which
//! follow each other at once: the primary is as before, and the replica holds rows that the primary does not have. The
//! next load finds them (the primary is empty, and the replica has everything the primary ever committed, so they can be
//! nothing else) and removes them in its own transaction. The other order would be worse: rows that are missing
//! on the replica make later changes of them vanish without a trace. Killed after both: only our watermark may stay,
//! which is replicated like all and written over the next time.
//!
//! Turned down: a TRUNCATE, COPY FREEZE on the primary alone whose rows the stream brings (sound in one transaction, but
//! apply begins only when the load has ended, and takes as long as the load itself); the same with `copy_data = true`
//! (the tables would have to leave the subscription for a while, in which a token could be fulfilled without its rows);
//! ALTER SUBSCRIPTION SKIP (the position is known too late); PREPARE TRANSACTION on both sides (off by default, and who
//! is killed in between leaves all sales locked until somebody comes).

mod side;
mod stream;

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Plan;
use super::progress::{Outcome, Progress, Share};
use super::rows::{Segments, make_for};
use crate::terminal::note;
pub use side::definition;
use side::{Role, Side};
use stream::Stream;

/// Sales a segment: some 40 MB of rows, of which three exist at once. Each segment costs some 90 ms of waiting (see
/// the batches of [`copy`](super::copy)).
const SEGMENT: usize = 100_000;

/// How long the subscription may take, beyond its usual patience, to read past a million loaded sales.
const PATIENCE_A_MILLION: Duration = Duration::from_secs(60);

/// Loads the sales of `plan` into both databases of an empty pair.
///
/// When `stop` resolves before both sides are loaded, both are left as they were.
///
/// # Errors
///
/// The primary holds sales already; the replica does not follow it, or is not the only one; a side can't be reached.
/// Both sides are as before, unless the message says otherwise.
pub async fn bulk(
    primary_url: &str,
    replica_url: &str,
    plan: &Plan,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Outcome> {
    let mut progress = Progress::start(plan.sales);
    let mut load = Load {
        stream: Stream::connect(primary_url, replica_url).await?,
        primary: Side::connect(Role::Primary, primary_url).await?,
        replica: Side::connect(Role::Replica, replica_url).await?,
    };
    let written = tokio::select! {
        biased;
        () = stop => None,
        written = load.prepare(plan, &progress) => Some(written),
    };
    let share = match written {
        // Never cut off: between its two steps the sides differ.
        Some(Ok(share)) => load.commit(share, &mut progress).await.map(|()| share),
        Some(Err(error)) => Err(error),
        None => Ok(Share::default()),
    };
    let Load { stream, primary, replica } = load;
    tokio::join!(primary.close(), replica.close());
    let closed = stream.close().await;
    share?;
    closed?;
    Ok(progress.finish())
}

/// A load under way.
struct Load {
    stream: Stream,
    primary: Side,
    replica: Side,
}

impl Load {
    /// Everything up to COMMIT.
    async fn prepare(&mut self, plan: &Plan, progress: &Progress) -> anyhow::Result<Share> {
        let Load { stream, primary, replica } = self;
        progress.show(0, "locking");
        stream.check_subscription().await?;
        stream.check_room(plan.sales).await?;
        // Once before anything is locked: a stream that stands still must not hold up those who sell.
        stream.carries(Duration::ZERO).await?;
        primary.lock().await?;
        ensure!(
            primary.is_empty().await?,
            "the primary holds sales already, and a bulk load is for an empty pair: use --via copy"
        );
        primary.strip().await?;
        stream.check_readers(primary.connection()).await?;
        stream.carries(Duration::ZERO).await?;
        replica.lock().await?;
        if !replica.is_empty().await? {
            note("the replica holds sales that the primary does not have, of a load that was cut off: they go");
        }
        replica.strip().await?;
        let share = Self::copy(primary, replica, plan, progress).await?;
        progress.show(share.sales, "adding keys");
        tokio::try_join!(primary.restore(), replica.restore())?;
        Ok(share)
    }

    async fn copy(primary: &mut Side, replica: &mut Side, plan: &Plan, progress: &Progress) -> anyhow::Result<Share> {
        progress.show(0, "copying to both sides");
        let [for_primary, for_replica] = make_for(Segments::of(plan, SEGMENT));
        let (mut written, mut replicated) = (Share::default(), Share::default());
        tokio::try_join!(
            primary.take(for_primary, |segment| {
                written.add(segment.share);
                progress.show(written.sales, "copying to both sides");
            }),
            replica.take(for_replica, |segment| replicated.add(segment.share)),
        )?;
        ensure!(written == replicated && written.sales == plan.sales, "the generator ended early");
        Ok(written)
    }

    /// The replica first; then the stream must run on.
    async fn commit(&mut self, share: Share, progress: &mut Progress) -> anyhow::Result<()> {
        self.replica.commit().await?;
        self.primary.commit().await.context(
            "the replica is loaded and the primary did not answer to COMMIT: compare with `cargo xtask verify`; \
             where the primary is empty, load again, which mends it",
        )?;
        progress.add(share);
        progress.show(share.sales, "waiting for the stream");
        let millions = u32::try_from(share.sales.div_ceil(1_000_000)).unwrap_or(u32::MAX);
        let patience = PATIENCE_A_MILLION.saturating_mul(millions);
        self.stream.carries(patience).await.context("both sides are loaded, but the stream between them stands still")
    }
}
