//! Waits until the replica has what the primary had.

use std::time::Duration;

use tandem_replication::{Lsn, Subscription, TableState};
use tokio::time::{Instant, sleep};

use crate::connect::{Database, Deadline};
use crate::error::CheckError;
use crate::published::PublishedTable;

/// How often the replica is asked. Its answer costs a few milliseconds at most, and an apply worker
/// that keeps up is a few milliseconds behind.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How often the primary is given a message while the replica does not arrive. The log writer flushes
/// such a message within `wal_writer_delay` (200 ms), so more often would not help; and a busy primary
/// needs none at all.
const NUDGE_INTERVAL: Duration = Duration::from_millis(500);

async fn subscription(replica: &mut Database, name: &str, deadline: Deadline) -> Result<Subscription, CheckError> {
    const DOING: &str = "reading the subscription";
    let failed = replica.failed(DOING);
    let reading = async { Subscription::find(&mut replica.connection, name).await.map_err(failed) };
    let found = deadline.bound(|| DOING.to_owned(), reading).await?;
    found.ok_or_else(|| CheckError::NotSubscribed { subscription: name.to_owned() })
}

/// The pause between two looks; ends in [`CheckError::TimedOut`] at the deadline.
async fn pause(deadline: Deadline) -> Result<(), CheckError> {
    let pausing = async {
        sleep(POLL_INTERVAL).await;
        Ok(())
    };
    deadline.bound(|| "waiting for the replica".to_owned(), pausing).await
}

/// Waits until the first copy of every published table has ended.
pub(crate) async fn tables_ready(
    replica: &mut Database,
    name: &str,
    published: &[PublishedTable],
    deadline: Deadline,
) -> Result<(), CheckError> {
    let mut waiting = Vec::new();
    match wait_for_tables(replica, name, published, deadline, &mut waiting).await {
        // What was waited for says more than which of our own steps the deadline fell into.
        Err(CheckError::TimedOut { timeout, .. }) if !waiting.is_empty() => {
            Err(CheckError::TablesNotReady { timeout, tables: waiting })
        }
        ended => ended,
    }
}

async fn wait_for_tables(
    replica: &mut Database,
    name: &str,
    published: &[PublishedTable],
    deadline: Deadline,
    waiting: &mut Vec<String>,
) -> Result<(), CheckError> {
    loop {
        let subscription = subscription(replica, name, deadline).await?;
        let state_of = |table: &PublishedTable| {
            subscription.tables.iter().find(|subscribed| subscribed.name == table.name).map(|found| found.state)
        };
        let tables = names(published.iter().filter(|table| state_of(table).is_none()));
        if !tables.is_empty() {
            return Err(CheckError::TablesNotSubscribed { subscription: name.to_owned(), tables });
        }
        *waiting = names(published.iter().filter(|table| state_of(table) != Some(TableState::Ready)));
        if waiting.is_empty() {
            return Ok(());
        }
        pause(deadline).await?;
    }
}

fn names<'a>(tables: impl Iterator<Item = &'a PublishedTable>) -> Vec<String> {
    tables.map(|table| table.name.clone()).collect()
}

/// Waits until the replica has applied everything before `needed`, and returns how long that took.
pub(crate) async fn reach(
    primary: &mut Database,
    replica: &mut Database,
    name: &str,
    needed: Lsn,
    deadline: Deadline,
) -> Result<Duration, CheckError> {
    let started = Instant::now();
    let mut last = None;
    match wait_for_position(primary, replica, name, needed, deadline, &mut last).await {
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
    deadline: Deadline,
    last: &mut Option<Subscription>,
) -> Result<(), CheckError> {
    let mut nudged = Instant::now();
    loop {
        let now = last.insert(subscription(replica, name, deadline).await?);
        if now.progress.applied_lsn.is_some_and(|reached| reached >= needed) {
            return Ok(());
        }
        if nudged.elapsed() >= NUDGE_INTERVAL {
            nudge(primary, deadline).await?;
            nudged = Instant::now();
        }
        pause(deadline).await?;
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
async fn nudge(primary: &mut Database, deadline: Deadline) -> Result<(), CheckError> {
    const DOING: &str = "emitting a logical message";
    let failed = primary.failed(DOING);
    let emitting = async {
        sqlx::query("select pg_logical_emit_message(false, 'tandem', '')::text")
            .execute(&mut primary.connection)
            .await
            .map_err(failed)?;
        Ok(())
    };
    deadline.bound(|| DOING.to_owned(), emitting).await
}
