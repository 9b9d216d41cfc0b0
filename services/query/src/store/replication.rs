//! How far the replica is, and how replication is doing.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt as _, TryFutureExt as _};
use sqlx::PgConnection;
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
};
use tandem_replication::{Lsn, Position, PrimaryLook, SystemIdentity};

/// How far a replica is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// Everything before this is visible; `None` before the first watermark, which says whose positions these are, and
    /// while tables are copied.
    pub position: Option<Position>,
    /// Everything that was committed before this is visible, by the primary's clock; `None` as for the position.
    pub as_of: Option<DateTime<Utc>>,
    /// Subscribed tables that are not in the stream yet. While there are any, a position says nothing: the stream has
    /// passed it, and rows from before it are still on their way.
    pub tables_copying: i64,
}

impl Applied {
    /// Everything that was committed longer than this before `now` is visible; `None` while that is not known. Clocks
    /// that disagree can't make it negative.
    pub fn staleness(&self, now: DateTime<Utc>) -> Option<Duration> {
        self.as_of.map(|as_of| (now - as_of).to_std().unwrap_or_default())
    }
}

/// What one look shows: a row of `tandem.applied`.
#[derive(Clone, Copy)]
pub struct Look {
    pub tables_copying: i64,
    pub received_lsn: Option<Lsn>,
    pub applied_lsn: Option<Lsn>,
    pub system_identifier: Option<i64>,
    pub timeline: Option<i32>,
    pub lsn: Option<Lsn>,
    pub written_at: Option<DateTime<Utc>>,
}

impl Look {
    /// A position that nothing visible in a snapshot lies behind which was taken before the look; `None` before the
    /// first watermark and while tables are copied.
    pub fn covered(&self) -> Option<Position> {
        self.watermark().map(|Position { identity, lsn }| {
            // What is visible had been received when the snapshot was taken. A worker that has started since may have
            // received less than its predecessor, and the watermark of the snapshot is visible in any case.
            let lsn = [self.received_lsn, self.applied_lsn].into_iter().flatten().fold(lsn, Lsn::max);
            Position { identity, lsn }
        })
    }

    /// The newest watermark's position; `None` also while tables are copied.
    fn watermark(&self) -> Option<Position> {
        let identity = SystemIdentity { system_identifier: self.system_identifier?, timeline: self.timeline? };
        let lsn = self.lsn?;
        (self.tables_copying == 0).then_some(Position { identity, lsn })
    }
}

async fn look(connection: &mut PgConnection, subscription: &str) -> Result<Look, sqlx::Error> {
    sqlx::query_file_as!(Look, "src/store/applied.sql", subscription).fetch_one(connection).await
}

/// How far the replica is: what the apply worker says or what the newest visible watermark says, whichever is more.
///
/// Only a snapshot that is taken after this call is sure to show it.
pub async fn applied(connection: &mut PgConnection, subscription: &str) -> Result<Applied, sqlx::Error> {
    let look = look(connection, subscription).await?;
    let tables_copying = look.tables_copying;
    Ok(look.watermark().map_or(Applied { tables_copying, ..Applied::default() }, |Position { identity, lsn }| {
        let lsn = lsn.max(look.applied_lsn.unwrap_or_default());
        // The apply worker's own time is no bound: a keepalive carries it while older commits still wait to be sent.
        Applied { position: Some(Position { identity, lsn }), as_of: look.written_at, tables_copying }
    }))
}

/// As [`Look::covered`], of this transaction's snapshot. To be asked in the transaction of an answer, after the answer.
pub async fn covered(connection: &mut PgConnection, subscription: &str) -> Result<Option<Position>, sqlx::Error> {
    Ok(look(connection, subscription).await?.covered())
}

/// The primary, as far as a role that may only connect can see it.
#[derive(Clone)]
pub struct Primary {
    database: Database,
}

impl Primary {
    /// Asks `database`, which must be the primary that the replica follows.
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Behind everything that has committed before this call.
    pub async fn position(&self, deadline: Deadline) -> Result<Position, DatabaseError> {
        self.database.read(deadline, |connection| Position::current(connection).err_into().boxed()).await
    }

    /// Up to where everything is flushed, which is what replicas are sent; and how far the primary's clock is ahead of
    /// this process's.
    pub async fn flushed_with_clock(&self, deadline: Deadline) -> Result<(Position, TimeDelta), DatabaseError> {
        self.database.read(deadline, |connection| Position::flushed_with_clock(connection).err_into().boxed()).await
    }

    /// Position, publication and slots.
    pub async fn look(&self, deadline: Deadline) -> Result<PrimaryLook, DatabaseError> {
        self.database.read(deadline, |connection| PrimaryLook::now(connection).err_into().boxed()).await
    }
}
