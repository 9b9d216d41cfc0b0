//! How far the replica is, and how replication is doing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{FutureExt as _, TryFutureExt as _};
use sqlx::PgConnection;
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
};
use tandem_replication::{ApplyProgress, Lsn, PUBLICATION, Position, Publication, Slot, Watermark};

/// How far a replica is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// Everything before this is visible; `None` before the first watermark, which says whose positions these are.
    pub position: Option<Position>,
    /// Everything that was committed before this is visible, by the primary's clock.
    pub as_of: Option<DateTime<Utc>>,
}

impl Applied {
    /// Everything that was committed longer than this before `now` is visible; `None` before the first watermark. Clocks
    /// that disagree can't make it negative.
    pub fn staleness(&self, now: DateTime<Utc>) -> Option<Duration> {
        self.as_of.map(|as_of| (now - as_of).to_std().unwrap_or_default())
    }
}

/// How far the replica is: what the apply worker says or what the newest visible watermark says, whichever is more.
///
/// Only a snapshot that is taken after this call is sure to show it.
pub async fn applied(connection: &mut PgConnection, subscription: &str) -> Result<Applied, sqlx::Error> {
    let progress = ApplyProgress::of(&mut *connection, subscription).await?;
    let watermark = Watermark::newest(connection).await?;
    Ok(watermark.map_or_else(Applied::default, |watermark| {
        let Position { identity, lsn } = watermark.position;
        let lsn = progress.applied_lsn.map_or(lsn, |applied| applied.max(lsn));
        // The apply worker's own time is no bound: a keepalive carries it while older commits still wait to be sent.
        Applied { position: Some(Position { identity, lsn }), as_of: Some(watermark.written_at) }
    }))
}

/// What the apply worker has received: nothing that is visible lies behind it.
pub async fn received(connection: &mut PgConnection, subscription: &str) -> Result<Option<Lsn>, sqlx::Error> {
    Ok(ApplyProgress::of(connection, subscription).await?.received_lsn)
}

/// The primary, as far as a role that may only connect can see it.
#[derive(Clone)]
pub struct Primary {
    database: Database,
    slot: String,
}

/// What the primary says of replication.
#[derive(Clone, Debug)]
pub struct PrimaryStatus {
    /// Where it writes.
    pub position: Position,
    /// What it publishes.
    pub publication: Option<Publication>,
    /// The slot of this replica.
    pub slot: Option<Slot>,
}

impl Primary {
    /// Asks `database`, which must be the primary that the replica's subscription named `slot` follows.
    pub const fn new(database: Database, slot: String) -> Self {
        Self { database, slot }
    }

    /// Behind everything that has committed before this call.
    pub async fn position(&self, deadline: Deadline) -> Result<Position, DatabaseError> {
        self.database.read(deadline, |connection| Position::current(connection).err_into().boxed()).await
    }

    /// Position, publication and slot.
    pub async fn status(&self, deadline: Deadline) -> Result<PrimaryStatus, DatabaseError> {
        let slot = self.slot.clone();
        self.database
            .read(deadline, move |connection| {
                async move {
                    Ok(PrimaryStatus {
                        position: Position::current(&mut *connection).await?,
                        publication: Publication::find(&mut *connection, PUBLICATION).await?,
                        slot: Slot::find(connection, &slot).await?,
                    })
                }
                .boxed()
            })
            .await
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.database.close().await;
    }
}
