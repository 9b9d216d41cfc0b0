//! Removes what is old enough, a portion at a time: request ids, imports, batches, and watermarks of services that are gone.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
    shutdown::Shutdown,
    status::chain_of,
};

use crate::store::{remove_abandoned, remove_older, remove_older_batches, remove_older_imports};

/// Between rounds. Retention is counted in days, so an hour more or less is nothing.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(600);
/// Between the portions of a round: leaves the database to others most of the time.
const BETWEEN_PORTIONS: Duration = Duration::from_millis(200);
/// One portion takes milliseconds.
const PORTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Request ids and imports. A retry that comes later is a new command.
    pub request_ids: Duration,
    /// Batches that have ended. Nobody can ask for them later.
    pub batches: Duration,
}

/// Removes what is older than it is kept.
pub struct Retention {
    database: Database,
    kept: Kept,
}

impl Retention {
    /// Keeps things for so long.
    pub const fn new(database: Database, kept: Kept) -> Self {
        Self { database, kept }
    }

    /// Removes round after round until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            let pause = match self.remove_portion().await {
                Ok(0) => {
                    self.remove_watermarks().await;
                    BETWEEN_ROUNDS
                }
                Ok(removed) => {
                    tracing::debug!(removed, "request ids, imports and batches were removed");
                    BETWEEN_PORTIONS
                }
                Err(error) => {
                    tracing::warn!(error = chain_of(&error), "what is old can't be removed");
                    BETWEEN_ROUNDS
                }
            };
            tokio::select! {
                () = shutdown.triggered() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn remove_watermarks(&self) {
        match remove_abandoned(&self.database, Deadline::after(PORTION_TIMEOUT)).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "watermarks of services that are gone were removed"),
            Err(error) => tracing::warn!(error = chain_of(&error), "old watermarks can't be removed"),
        }
    }

    async fn remove_portion(&self) -> Result<u64, DatabaseError> {
        let (requests, batches) = (ago(self.kept.request_ids), ago(self.kept.batches));
        let removed = self.database.write(Deadline::after(PORTION_TIMEOUT), move |connection| {
            let all = async move {
                let mut removed = 0;
                if let Some(before) = requests {
                    removed += remove_older(&mut *connection, before).await?;
                    removed += remove_older_imports(&mut *connection, before).await?;
                }
                // Behind the imports: a batch is kept for as long as its import can be resumed.
                if let Some(before) = batches {
                    removed += remove_older_batches(connection, before).await?;
                }
                Ok(removed)
            };
            all.boxed()
        });
        removed.await
    }
}

/// The moment that was so long ago; none for more time than there has been.
fn ago(kept: Duration) -> Option<DateTime<Utc>> {
    Utc::now().checked_sub_signed(TimeDelta::from_std(kept).unwrap_or(TimeDelta::MAX))
}
