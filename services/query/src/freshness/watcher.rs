//! The one reader of the replica's progress.

use std::{
    error::Error,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::gauge;
use tandem_chassis::{deadline::Deadline, shutdown::Shutdown};
use tandem_replication::Position;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::{Freshness, PrimaryClock, caught_up::CaughtUp};
use crate::store::{Applied, Primary, Replica};

/// Between looks while somebody waits: about what one look costs, and well below what a caller notices.
const WHILE_WAITED_FOR: Duration = Duration::from_millis(2);
/// Apply is mostly done this long after a commit. Until then who has just come is looked for without a pause, ...
const SOON: Duration = Duration::from_millis(4);
/// ... unless so many wait that the processor has better to do.
const FEW: usize = 4;
/// Between looks while nobody waits: fine enough for the staleness in answers and metrics.
const WHILE_IDLE: Duration = Duration::from_millis(250);
/// Between questions to the primary for its position and its clock: clocks drift apart by less than a millisecond.
const LAG_INTERVAL: Duration = Duration::from_secs(5);
/// After a question that the primary did not answer: one lost answer must not look like a replica that is late.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// One look must not hold up the next for longer than this.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Callers that wait now; the watcher looks more often while there are any.
#[derive(Clone, Default)]
pub struct Interest(Arc<Waits>);

#[derive(Default)]
struct Waits {
    count: AtomicUsize,
    arrived: Notify,
    newest: Mutex<Option<Instant>>,
}

/// One caller's wait.
pub struct Waiting(Interest);

impl Interest {
    /// From now on, until the returned value is dropped, somebody waits.
    pub fn declare(&self) -> Waiting {
        *self.newest() = Some(Instant::now());
        self.0.count.fetch_add(1, Ordering::Relaxed);
        self.0.arrived.notify_one();
        Waiting(self.clone())
    }

    fn newest(&self) -> MutexGuard<'_, Option<Instant>> {
        // One assignment under this lock can't leave it half-changed.
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next_look(&self) {
        let waiting = self.0.count.load(Ordering::Relaxed);
        if waiting > 0 {
            let soon = self.newest().is_some_and(|newest| newest.elapsed() < SOON);
            if waiting > FEW || !soon {
                sleep(WHILE_WAITED_FOR).await;
            }
            return;
        }
        tokio::select! {
            () = sleep(WHILE_IDLE) => {}
            () = self.0.arrived.notified() => {}
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Asks the replica how far it is, and tells all who wait.
pub struct Watcher {
    replica: Replica,
    primary: Option<Primary>,
    applied: watch::Sender<Applied>,
    interest: Interest,
    clock: PrimaryClock,
    caught_up: CaughtUp,
}

impl Watcher {
    /// A watcher of `replica`, whose pool must not be the callers': they would wait for the watcher, and it for their
    /// connections. And what callers ask. `primary` is asked for a strong read, for its clock and for the lag in bytes.
    pub fn new(replica: Replica, primary: Option<Primary>) -> (Self, Freshness) {
        let (sender, receiver) = watch::channel(Applied::default());
        let interest = Interest::default();
        let clock = PrimaryClock::default();
        let caught_up = CaughtUp::default();
        let freshness = Freshness::new(receiver, interest.clone(), primary.clone(), clock.clone(), caught_up.clone());
        (Self { replica, primary, applied: sender, interest, clock, caught_up }, freshness)
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
                    publish(&self.applied, applied);
                    self.caught_up.replica_is_at(applied);
                    self.export_staleness();
                }
                Err(error) => {
                    // Said once for an outage: the health of the service says it all the while.
                    if !failing {
                        tracing::warn!(error = &error as &dyn Error, "the replica does not say how far it is");
                    }
                    failing = true;
                    self.export_staleness();
                    sleep(WHILE_IDLE).await;
                }
            }
            self.interest.next_look().await;
        }
    }

    /// From what was last seen: a replica that does not answer grows stale like one that stands still.
    fn export_staleness(&self) {
        let staleness = self.applied.borrow().staleness(self.clock.now());
        gauge!("tandem_replication_staleness_seconds").set(staleness.map_or(f64::NAN, |stale| stale.as_secs_f64()));
    }

    async fn export_lag(&self) {
        let Some(primary) = &self.primary else { return std::future::pending().await };
        loop {
            let asked = Instant::now();
            // Without an answer the gauge is not a number: an old figure would look like a healthy one.
            let (lag, interval) = match primary.flushed_with_clock(Deadline::after(LOOK_TIMEOUT)).await {
                Ok((position, ahead)) => {
                    self.clock.is_ahead(ahead);
                    self.caught_up.primary_was_at(position, asked);
                    (lag_bytes(position, *self.applied.borrow()), LAG_INTERVAL)
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn Error, "the primary does not say its position");
                    (None, ASK_AGAIN)
                }
            };
            gauge!("tandem_replication_lag_bytes").set(lag.map_or(f64::NAN, |bytes| bytes as f64));
            sleep(interval).await;
        }
    }
}

/// Tells all who wait, unless there is nothing new: while somebody waits that would be 500 times a second.
fn publish(sender: &watch::Sender<Applied>, applied: Applied) {
    sender.send_if_modified(|known| {
        let changed = *known != applied;
        *known = applied;
        changed
    });
}

/// Bytes between a position and what the replica shows; `None` where the replica's own is not known or of another
/// history.
pub fn lag_bytes(ahead: Position, applied: Applied) -> Option<u64> {
    let here = applied.position.filter(|here| here.identity == ahead.identity)?;
    Some(ahead.lsn.bytes_since(here.lsn))
}

#[cfg(test)]
mod tests {
    use tandem_replication::{Lsn, SystemIdentity};

    use super::{Applied, Position, lag_bytes, publish, watch};

    fn position(timeline: i32, lsn: u64) -> Position {
        Position { identity: SystemIdentity { system_identifier: 7, timeline }, lsn: Lsn::new(lsn) }
    }

    fn at(position: Position) -> Applied {
        Applied { position: Some(position), ..Applied::default() }
    }

    #[test]
    fn who_waits_is_woken_by_what_is_new_and_by_nothing_else() {
        let (sender, mut receiver) = watch::channel(Applied::default());
        for (applied, news) in [(at(position(1, 10)), true), (at(position(1, 10)), false), (at(position(1, 11)), true)]
        {
            publish(&sender, applied);
            assert_eq!(receiver.has_changed().unwrap(), news, "{applied:?}");
            assert_eq!(*receiver.borrow_and_update(), applied);
        }
    }

    #[test]
    fn positions_of_two_histories_have_no_distance() {
        assert_eq!(lag_bytes(position(1, 30), at(position(1, 10))), Some(20));
        assert_eq!(lag_bytes(position(2, 30), at(position(1, 10))), None);
        assert_eq!(lag_bytes(position(1, 30), Applied::default()), None);
    }
}
