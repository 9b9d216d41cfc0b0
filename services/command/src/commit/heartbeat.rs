//! The heartbeat: this service's row of the watermark table.
//!
//! PostgreSQL tells a replica how far it has come, but now and then only seconds after the last write. A row that holds
//! a position and travels like any other row bounds that wait, shows motion on an idle system, and keeps an idle slot
//! from holding WAL.

use std::{sync::Arc, time::Duration};

use tandem_chassis::{database::Database, deadline::Deadline, shutdown::Shutdown, status::chain_of};
use tokio::sync::Notify;

use crate::store::write_watermark;

/// From a commit to the watermark that covers it. Half of the 100 ms that readers are promised: the other half is for
/// the write. Under load it is the distance of two watermarks: 20 rows a second are nothing.
const AFTER_COMMIT: Duration = Duration::from_millis(50);
/// Between watermarks when nothing commits: well below any staleness that is worth an alarm.
const WHEN_IDLE: Duration = Duration::from_secs(2);
/// One write must not hold up the next for longer than this.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes watermarks behind commits.
pub struct Heartbeat {
    database: Database,
    committed: Arc<Notify>,
    writer: String,
    failing: bool,
}

impl Heartbeat {
    /// Writes the row named `writer` when told of a commit; no two services may share a row.
    pub const fn new(database: Database, committed: Arc<Notify>, writer: String) -> Self {
        Self { database, committed, writer, failing: false }
    }

    /// Writes watermarks until shutdown, and one last time then.
    pub async fn run(mut self, shutdown: Shutdown) {
        while !shutdown.is_triggered() {
            self.beat().await;
            tokio::select! {
                () = shutdown.triggered() => {}
                () = tokio::time::sleep(WHEN_IDLE) => {}
                () = self.committed.notified() => tokio::time::sleep(AFTER_COMMIT).await,
            }
        }
        self.beat().await;
    }

    async fn beat(&mut self) {
        let deadline = Deadline::after(WRITE_TIMEOUT);
        let written = write_watermark(&self.database, self.writer.clone(), deadline).await;
        match &written {
            Ok(_) if self.failing => tracing::info!("watermarks are written again"),
            Ok(_) => {}
            // Said once for an outage, not once for a beat: the health of the service says it all the while.
            Err(error) if !self.failing => {
                tracing::warn!(error = chain_of(error), "no watermark can be written");
            }
            Err(_) => {}
        }
        self.failing = written.is_err();
    }
}
