//! The one reader of changes, for all who have been told everything so far.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use metrics::counter;
use tandem_chassis::shutdown::Shutdown;
use tandem_replication::SystemIdentity;
use tokio::{
    sync::{Notify, broadcast},
    time::sleep,
};

use super::{
    WatchEnd, can_be_told,
    step::{Page, Step, present},
};
use crate::{domain::WatchPosition, store::Replica};

/// Between looks whether anything has changed: a look takes a millisecond, and nobody sees a tenth of a second.
pub const BETWEEN_STEPS: Duration = Duration::from_millis(100);
/// Pages that wait for the slowest watcher before it is ended: in most shops about ten megabytes, once for all of them.
const WAITING_PAGES: usize = 64;
/// A long step waits so long in all for watchers that are half as many pages behind: reading the database is faster than
/// some networks. It is given back while nobody is behind.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between looks whether they have caught up.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// Between messages about where the hub is while nothing changes.
const BETWEEN_POSITIONS: Duration = Duration::from_secs(1);
/// A replica that fails for longer ends the streams: their callers do better elsewhere.
const FAILURE_LIMIT: Duration = Duration::from_secs(5);

/// What the hub tells all watchers.
#[derive(Clone, Debug)]
pub enum News {
    /// It begins to read here.
    Began(WatchPosition),
    /// What has changed.
    Page(Arc<Page>),
    /// Nothing has changed up to here.
    At(WatchPosition),
    /// All streams end, for this reason.
    Ended(WatchEnd),
}

/// Reads what changes while anybody watches.
pub struct Hub {
    replica: Replica,
    /// Behind everything that was sent so far; `None` while nothing is read. What moves it also sends, under the lock: who
    /// joins knows what comes next.
    position: Mutex<Option<WatchPosition>>,
    sender: broadcast::Sender<News>,
    somebody_watches: Notify,
}

impl Hub {
    /// Reads `replica`, whose pool must have a connection for it.
    pub fn new(replica: Replica) -> Self {
        let (sender, _) = broadcast::channel(WAITING_PAGES);
        Self { replica, position: Mutex::new(None), sender, somebody_watches: Notify::new() }
    }

    /// All that is told from now on, and the position that it follows; `None` when the first is to say it.
    pub fn join(&self) -> (broadcast::Receiver<News>, Option<WatchPosition>) {
        let position = self.position();
        let receiver = self.sender.subscribe();
        if position.is_none() {
            self.somebody_watches.notify_one();
        }
        (receiver, *position)
    }

    fn position(&self) -> MutexGuard<'_, Option<WatchPosition>> {
        // A copy can't be left half-written.
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, position: Option<WatchPosition>, news: News) {
        let mut known = self.position();
        *known = position;
        // Nobody may be left to hear it.
        let _nobody = self.sender.send(news);
    }

    /// Reads until shutdown.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.triggered() => self.tell(None, News::Ended(WatchEnd::ShuttingDown)),
            () = self.read_again_and_again() => {}
        }
    }

    async fn read_again_and_again(&self) {
        loop {
            while self.sender.receiver_count() == 0 {
                self.somebody_watches.notified().await;
            }
            if let Err(end) = self.read().await {
                if let WatchEnd::Database(error) = &end {
                    tracing::warn!(error = error as &dyn Error, "changes can't be read; watchers are sent away");
                }
                self.tell(None, News::Ended(end));
            }
        }
    }

    /// Reads from now on, while anybody watches.
    async fn read(&self) -> Result<(), WatchEnd> {
        let mut reading = Reading { hub: self, failing_since: None, patience: PATIENCE };
        let (identity, mut xid) = reading.begin().await?;
        self.tell(Some(WatchPosition::at(xid)), News::Began(WatchPosition::at(xid)));
        let mut said = Instant::now();
        loop {
            sleep(BETWEEN_STEPS).await;
            let now = reading.now(identity, xid).await?;
            let mut changed = false;
            if now > xid {
                changed = reading.step(identity, Step::between(xid, now)).await?;
                xid = now;
                *self.position() = Some(WatchPosition::at(xid));
            }
            if changed {
                said = Instant::now();
            } else if said.elapsed() >= BETWEEN_POSITIONS {
                self.tell(Some(WatchPosition::at(xid)), News::At(WatchPosition::at(xid)));
                said = Instant::now();
            }
            let mut position = self.position();
            if self.sender.receiver_count() == 0 {
                *position = None;
                return Ok(());
            }
        }
    }
}

/// The hub while it reads.
struct Reading<'h> {
    hub: &'h Hub,
    failing_since: Option<Instant>,
    patience: Duration,
}

impl Reading<'_> {
    /// Where to begin: a horizon that lies behind any TRUNCATE.
    async fn begin(&mut self) -> Result<(SystemIdentity, i64), WatchEnd> {
        loop {
            match present(&self.hub.replica).await {
                Ok(present) if can_be_told(WatchPosition::at(present.xid), &present).is_ok() => {
                    return Ok((present.replica, present.xid));
                }
                // A transaction that began before the TRUNCATE still runs.
                Ok(_) => sleep(BETWEEN_STEPS).await,
                Err(error) => self.failed(error.into()).await?,
            }
        }
    }

    async fn now(&mut self, identity: SystemIdentity, xid: i64) -> Result<i64, WatchEnd> {
        loop {
            match present(&self.hub.replica).await {
                Ok(present) if present.replica != identity => return Err(WatchEnd::AnotherReplica),
                Ok(present) => {
                    self.failing_since = None;
                    can_be_told(WatchPosition::at(xid), &present)?;
                    return Ok(present.xid);
                }
                Err(error) => self.failed(error.into()).await?,
            }
        }
    }

    /// Tells all that changed in a step; says whether anything has.
    async fn step(&mut self, identity: SystemIdentity, mut step: Step) -> Result<bool, WatchEnd> {
        let mut changed = false;
        loop {
            match step.next(&self.hub.replica, identity).await {
                Ok(Some(page)) => {
                    self.failing_since = None;
                    if page.changes.is_empty() {
                        *self.hub.position() = Some(page.end);
                        continue;
                    }
                    changed = true;
                    self.wait_for_watchers().await;
                    counter!("tandem_watch_changes_total").increment(page.changes.len() as u64);
                    self.hub.tell(Some(page.end), News::Page(Arc::new(page)));
                }
                Ok(None) => {
                    counter!("tandem_watch_steps_total").increment(1);
                    return Ok(changed);
                }
                Err(end) => self.failed(end).await?,
            }
        }
    }

    async fn wait_for_watchers(&mut self) {
        if self.hub.sender.len() < WAITING_PAGES / 2 {
            self.patience = PATIENCE;
        }
        while self.hub.sender.len() >= WAITING_PAGES / 2 && !self.patience.is_zero() {
            sleep(BETWEEN_LOOKS).await;
            self.patience = self.patience.saturating_sub(BETWEEN_LOOKS);
        }
    }

    /// Waits, when the replica has failed for no longer than a moment; otherwise that's it.
    async fn failed(&mut self, end: WatchEnd) -> Result<(), WatchEnd> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if !matches!(end, WatchEnd::Database(_)) || since.elapsed() >= FAILURE_LIMIT {
            return Err(end);
        }
        sleep(BETWEEN_STEPS).await;
        Ok(())
    }
}
