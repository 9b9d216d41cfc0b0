//! The one reader of the replica's progress.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::Utc;
use metrics::gauge;
use tandem_chassis::{deadline::Deadline, shutdown::Shutdown};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::Freshness;
use crate::store::{Applied, Primary, Replica};

/// Between looks while somebody waits: about what one look costs, and well below what a caller notices.
const WHILE_WAITED_FOR: Duration = Duration::from_millis(2);
/// Between looks while nobody waits: fine enough for the staleness in answers and metrics.
const WHILE_IDLE: Duration = Duration::from_millis(250);
/// Between questions to the primary for the lag in bytes.
const LAG_INTERVAL: Duration = Duration::from_secs(5);
/// One look must not hold up the next for longer than this.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Callers that wait now; the watcher looks more often while there are any.
#[derive(Clone, Default)]
pub struct Interest(Arc<(AtomicUsize, Notify)>);

/// One caller's wait.
pub struct Waiting(Interest);

impl Interest {
    /// From now on, until the returned value is dropped, somebody waits.
    pub fn declare(&self) -> Waiting {
        let (count, arrived) = &*self.0;
        count.fetch_add(1, Ordering::Relaxed);
        arrived.notify_one();
        Waiting(self.clone())
    }

    async fn next_look(&self) {
        let (count, arrived) = &*self.0;
        if count.load(Ordering::Relaxed) > 0 {
            sleep(WHILE_WAITED_FOR).await;
            return;
        }
        tokio::select! {
            () = sleep(WHILE_IDLE) => {}
            () = arrived.notified() => {}
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Asks the replica how far it is, and tells all who wait.
pub struct Watcher {
    replica: Replica,
    primary: Option<Primary>,
    applied: watch::Sender<Applied>,
    interest: Interest,
}

impl Watcher {
    /// A watcher of `replica`, and what callers ask. `primary` is asked for a strong read and for the lag in bytes.
    pub fn new(replica: Replica, primary: Option<Primary>) -> (Self, Freshness) {
        let (sender, receiver) = watch::channel(Applied::default());
        let interest = Interest::default();
        let freshness = Freshness::new(receiver, interest.clone(), primary.clone());
        (Self { replica, primary, applied: sender, interest }, freshness)
    }

    /// Looks until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.triggered() => {}
            () = self.look_again_and_again() => {}
            () = self.export_lag() => {}
        }
    }

    async fn look_again_and_again(&self) {
        let mut failing = false;
        loop {
            match self.replica.applied(Deadline::after(LOOK_TIMEOUT)).await {
                Ok(applied) => {
                    if failing {
                        tracing::info!("the replica says again how far it is");
                    }
                    failing = false;
                    if let Some(staleness) = applied.staleness(Utc::now()) {
                        gauge!("tandem_replication_staleness_seconds").set(staleness.as_secs_f64());
                    }
                    self.applied.send_replace(applied);
                }
                Err(error) => {
                    // Said once for an outage: the health of the service says it all the while.
                    if !failing {
                        tracing::warn!(error = &error as &dyn Error, "the replica does not say how far it is");
                    }
                    failing = true;
                    sleep(WHILE_IDLE).await;
                }
            }
            self.interest.next_look().await;
        }
    }

    async fn export_lag(&self) {
        let Some(primary) = &self.primary else { return std::future::pending().await };
        loop {
            // Without an answer the gauge is not a number: an old figure would look like a healthy one.
            let lag = match primary.position(Deadline::after(LOOK_TIMEOUT)).await {
                Ok(position) => lag_bytes(position.lsn, *self.applied.borrow()),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn Error, "the primary does not say its position");
                    None
                }
            };
            gauge!("tandem_replication_lag_bytes").set(lag.map_or(f64::NAN, |bytes| bytes as f64));
            sleep(LAG_INTERVAL).await;
        }
    }
}

/// Bytes between the primary's position and what the replica shows.
pub fn lag_bytes(primary: tandem_replication::Lsn, applied: Applied) -> Option<u64> {
    applied.position.map(|position| primary.bytes_since(position.lsn))
}
