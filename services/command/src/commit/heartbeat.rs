//! The heartbeat: this service's row of the watermark table.
//!
//! PostgreSQL tells a replica how far it has come, but now and then only seconds after the last write. A row that holds
//! a position and travels like any other row bounds that wait, shows motion on an idle system, and keeps an idle slot
//! from holding WAL.

use std::time::Duration;

use tandem_chassis::{deadline::Deadline, shutdown::Shutdown};

use super::Committer;

/// From a commit to the watermark that covers it. Half of the 100 ms that readers are promised: the other half is for
/// the write. Under load it is the distance of two watermarks: 20 rows a second are nothing.
const AFTER_COMMIT: Duration = Duration::from_millis(50);
/// Between watermarks when nothing commits: well below any staleness that is worth an alarm.
const WHEN_IDLE: Duration = Duration::from_secs(2);
/// One write must not hold up the next for longer than this.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes watermarks until shutdown, and one last time then.
pub async fn run(committer: Committer, writer: String, shutdown: Shutdown) {
    let mut failing = false;
    while !shutdown.is_triggered() {
        beat(&committer, &writer, &mut failing).await;
        tokio::select! {
            () = shutdown.triggered() => {}
            () = tokio::time::sleep(WHEN_IDLE) => {}
            () = committer.committed() => tokio::time::sleep(AFTER_COMMIT).await,
        }
    }
    beat(&committer, &writer, &mut failing).await;
}

async fn beat(committer: &Committer, writer: &str, failing: &mut bool) {
    let written = committer.store().write_watermark(writer.to_owned(), Deadline::after(WRITE_TIMEOUT)).await;
    match &written {
        Ok(_) if *failing => tracing::info!("watermarks are written again"),
        Ok(_) => {}
        // Said once for an outage, not once for a beat: the health of the service says it all the while.
        Err(error) if !*failing => {
            tracing::warn!(error = error as &dyn std::error::Error, "no watermark can be written");
        }
        Err(_) => {}
    }
    *failing = written.is_err();
}
