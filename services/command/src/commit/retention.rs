//! Removes what is old enough: request ids, a few thousand at a time, and watermarks of services that are gone.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::FutureExt as _;
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
    shutdown::Shutdown,
    status::chain_of,
};

use crate::store::{remove_abandoned, remove_older, remove_older_imports};

/// Between rounds. Retention is counted in days, so an hour more or less is nothing.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(600);
/// Between the portions of a round: leaves the database to others most of the time.
const BETWEEN_PORTIONS: Duration = Duration::from_millis(200);
/// One portion takes milliseconds.
const PORTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Removes request ids that are older than they are kept.
pub struct Retention {
    database: Database,
    kept: Duration,
}

impl Retention {
    /// Keeps ids for `kept`. A retry that comes later is a new command.
    pub const fn new(database: Database, kept: Duration) -> Self {
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
                    tracing::debug!(removed, "request ids and imports were removed");
                    BETWEEN_PORTIONS
                }
                Err(error) => {
                    tracing::warn!(error = chain_of(&error), "old request ids can't be removed");
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
        let kept = TimeDelta::from_std(self.kept).unwrap_or(TimeDelta::MAX);
        let Some(before) = Utc::now().checked_sub_signed(kept) else { return Ok(0) };
        let deadline = Deadline::after(PORTION_TIMEOUT);
        self.database
            .write(deadline, move |connection| {
                let both = async move {
                    Ok(remove_older(&mut *connection, before).await? + remove_older_imports(connection, before).await?)
                };
                both.boxed()
            })
            .await
    }
}
