//! Waits until the replica has what the primary had.

use std::time::Duration;

use tandem_replication::{Lsn, Subscription, TableState};
use tokio::time::Instant;

use crate::connect::Database;
use crate::error::{CheckError, TableCopy};

/// How often the replica is asked. An apply worker that keeps up is a few milliseconds behind, and whatever is written
/// while it is waited for has to be looked at once more.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How often the primary is given a message while the replica does not arrive. The log writer flushes
/// such a message within `wal_writer_delay` (200 ms), so more often would not help; and a busy primary
/// needs none at all.
const NUDGE_INTERVAL: Duration = Duration::from_millis(500);

async fn subscription(replica: &mut Database, name: &str) -> Result<Subscription, CheckError> {
    const DOING: &str = "reading the subscription";
    let (failed, deadline) = (replica.failed(DOING), replica.deadline.clone());
    let reading = async { Subscription::find(&mut replica.connection, name).await.map_err(failed) };
    let found = deadline.bound(|| DOING.to_owned(), reading).await?;
    found.ok_or_else(|| CheckError::NotSubscribed { subscription: name.to_owned() })
}

/// What is told of a pause that the deadline fell into.
const WAITING: &str = "waiting for the replica";

/// Waits until the first copy of every published table has ended.
pub(crate) async fn tables_ready(
    primary: &mut Database,
    replica: &mut Database,
    name: &str,
    published: &[String],
) -> Result<(), CheckError> {
    let mut waiting = Vec::new();
    match wait_for_tables(primary, replica, name, published, &mut waiting).await {
        // What was waited for says more than which of our own steps the deadline fell into.
        Err(CheckError::TimedOut { timeout, .. }) if !waiting.is_empty() => {
            Err(CheckError::TablesNotReady { timeout, tables: waiting })
        }
        ended => ended,
    }
}

async fn wait_for_tables(
    primary: &mut Database,
    replica: &mut Database,
    name: &str,
    published: &[String],
    waiting: &mut Vec<TableCopy>,
) -> Result<(), CheckError> {
    let mut nudged = Instant::now();
    loop {
        let subscription = subscription(replica, name).await?;
        let state_of = |table: &String| {
            subscription.tables.iter().find(|subscribed| subscribed.name == *table).map(|found| found.state)
        };
        let tables: Vec<String> = published.iter().filter(|table| state_of(table).is_none()).cloned().collect();
        if !tables.is_empty() {
            return Err(CheckError::TablesNotSubscribed { subscription: name.to_owned(), tables });
        }
        let copy = |name: &String| state_of(name).map(|state| TableCopy { name: name.clone(), state });
        *waiting = published.iter().filter_map(copy).filter(|table| table.state != TableState::Ready).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        // A table that has caught up is ready when the apply worker is as far, which takes a message from the primary.
        if nudged.elapsed() >= NUDGE_INTERVAL {
            nudge(primary).await?;
            nudged = Instant::now();
        }
        replica.deadline.pause(POLL_INTERVAL, WAITING).await?;
    }
}

/// Waits until the replica has applied everything before `needed`, and returns how long that took.
pub(crate) async fn reach(
    primary: &mut Database,
    replica: &mut Database,
    name: &str,
    needed: Lsn,
) -> Result<Duration, CheckError> {
    let started = Instant::now();
    let mut last = None;
    match wait_for_position(primary, replica, name, needed, &mut last).await {
        Ok(()) => Ok(started.elapsed()),
        Err(error) => match (error, last) {
            (CheckError::TimedOut { timeout, .. }, Some(last)) => {
                let (state, hint) = state_of_work(&last);
                let reached = last.progress.applied_lsn;
                Err(CheckError::ReplicaBehind { timeout, needed, reached, state, hint })
            }
            (error, _) => Err(error),
        },
    }
}

async fn wait_for_position(
    primary: &mut Database,
    replica: &mut Database,
    name: &str,
    needed: Lsn,
    last: &mut Option<Subscription>,
) -> Result<(), CheckError> {
    let mut nudged = Instant::now();
    loop {
        let now = last.insert(subscription(replica, name).await?);
        if now.progress.applied_lsn.is_some_and(|reached| reached >= needed) {
            return Ok(());
        }
        if nudged.elapsed() >= NUDGE_INTERVAL {
            nudge(primary).await?;
            nudged = Instant::now();
        }
        replica.deadline.pause(POLL_INTERVAL, WAITING).await?;
    }
}

/// What the subscription does, and what to do about it.
fn state_of_work(subscription: &Subscription) -> (&'static str, &'static str) {
    match (subscription.enabled, subscription.progress.running) {
        (false, _) => {
            ("the subscription is disabled", "switch it on with `alter subscription … enable` on the replica")
        }
        (true, false) => ("no apply worker runs", "the replica's log says what it fails at"),
        (true, true) => ("the apply worker runs", "allow more time, or see the replica's log"),
    }
}

/// Moves the primary's log by one small record that is in no publication. Where a position falls on the
/// border of a log page, an idle primary never sends the few bytes of page header that are missing.
async fn nudge(primary: &mut Database) -> Result<(), CheckError> {
    let message = sqlx::query("select pg_logical_emit_message(false, 'tandem', '')::text");
    primary.ask("emitting a logical message", message, |_| Ok(())).await?;
    Ok(())
}
