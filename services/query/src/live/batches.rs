//! Batches that callers wait for: one task looks after all of them.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::gauge;
use tandem_chassis::{database::DatabaseError, deadline::Deadline, shutdown::Shutdown};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};

use crate::{
    domain::{Batch, BatchId},
    freshness::Freshness,
    store::Replica,
};

/// Callers that wait at one time: each takes one of the calls that a process answers at a time, 1,024 by default.
const MOST_WAITING: usize = 500;
/// Between looks while the replica moves: below what a caller notices, and one look is all that a busy replica is asked for.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// Between looks while it stands still: a batch grows slow by the clock alone.
const WHILE_STILL: Duration = Duration::from_secs(5);
/// For one look, which takes milliseconds.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Between tries while the replica fails.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// A replica that fails for longer ends the waits.
const FAILURE_LIMIT: Duration = Duration::from_secs(5);

/// Why a wait ended without the batch.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WaitEnd {
    /// The batch will not be complete, unless somebody resumes it.
    #[error("the batch failed: {error}")]
    Failed {
        /// Why, as its writer says.
        error: String,
    },
    /// There are too many who wait.
    #[error("too many callers wait for batches; try again later, or elsewhere")]
    TooMany,
    /// The caller's own deadline has come.
    #[error("the deadline has passed and the batch can't be read here yet; wait again, or look with GetBatch")]
    DeadlineExceeded,
    /// The service ends.
    #[error("the server is shutting down; wait again")]
    ShuttingDown,
    /// The replica failed for longer than a moment.
    #[error("the replica can't be read")]
    Database(#[from] Arc<DatabaseError>),
}

/// What is known of a batch: nothing before the first look; then the batch, if the replica has heard of it.
type Known = Option<Result<Option<Batch>, WaitEnd>>;

/// All waits of a process. Clones share them.
#[derive(Clone)]
pub struct BatchWaits(Arc<Shared>);

struct Shared {
    replica: Replica,
    freshness: Freshness,
    shutdown: Shutdown,
    waited_for: Mutex<HashMap<String, watch::Sender<Known>>>,
    arrived: Notify,
}

/// One caller's wait.
pub struct BatchWait {
    known: watch::Receiver<Known>,
    shutdown: Shutdown,
    deadline: Option<Deadline>,
}

impl BatchWaits {
    /// Looks into `replica` whenever `freshness` says that it has moved. Waits end with `shutdown`.
    pub fn new(replica: Replica, freshness: Freshness, shutdown: Shutdown) -> Self {
        let (waited_for, arrived) = Default::default();
        Self(Arc::new(Shared { replica, freshness, shutdown, waited_for, arrived }))
    }

    /// Begins to wait for a batch, until `deadline` at most.
    pub fn wait(&self, batch_id: &BatchId, deadline: Option<Deadline>) -> Result<BatchWait, WaitEnd> {
        let mut waited_for = self.0.waited_for();
        let waiting: usize = waited_for.values().map(watch::Sender::receiver_count).sum();
        if waiting >= MOST_WAITING {
            return Err(WaitEnd::TooMany);
        }
        let sender = waited_for.entry(batch_id.as_str().to_owned()).or_insert_with(|| watch::channel(None).0);
        let mut known = sender.subscribe();
        // What is known already is news to this caller.
        known.mark_changed();
        drop(waited_for);
        self.0.arrived.notify_one();
        Ok(BatchWait { known, shutdown: self.0.shutdown.clone(), deadline })
    }

    /// Looks for as long as anybody waits, until `stop`.
    pub async fn run(self, stop: Shutdown) {
        tokio::select! {
            biased;
            () = stop.triggered() => {}
            () = self.0.look_again_and_again() => {}
        }
    }
}

impl Shared {
    fn waited_for(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Known>>> {
        // Entries come and go whole.
        self.waited_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batches that anybody waits for; the others are forgotten.
    fn batch_ids(&self) -> Vec<String> {
        let mut waited_for = self.waited_for();
        waited_for.retain(|_, sender| sender.receiver_count() > 0);
        let waiting: usize = waited_for.values().map(watch::Sender::receiver_count).sum();
        gauge!("tandem_batch_waits").set(waiting as f64);
        waited_for.keys().cloned().collect()
    }

    async fn look_again_and_again(&self) {
        let mut applied = self.freshness.applied();
        let mut failing_since = None;
        loop {
            let batch_ids = self.batch_ids();
            if batch_ids.is_empty() {
                failing_since = None;
                self.arrived.notified().await;
                continue;
            }
            applied.mark_unchanged();
            match self.replica.batches(batch_ids.clone(), Deadline::after(LOOK_TIMEOUT)).await {
                Ok(found) => {
                    failing_since = None;
                    self.tell(&batch_ids, found.answer);
                }
                Err(error) => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= FAILURE_LIMIT {
                        tracing::warn!(
                            error = &error as &dyn Error,
                            "batches can't be looked at; who waits is sent away"
                        );
                        self.give_up(&Arc::new(error));
                    }
                    sleep(AFTER_FAILURE).await;
                    continue;
                }
            }
            let moved = async {
                sleep(BETWEEN_LOOKS).await;
                if applied.changed().await.is_err() {
                    // Nobody says any more how far the replica is: the service ends.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = self.arrived.notified() => {}
                () = moved => {}
                () = sleep(WHILE_STILL) => {}
            }
        }
    }

    /// Tells those who wait, where there is news for them.
    fn tell(&self, looked_for: &[String], found: Vec<Batch>) {
        let mut found: HashMap<String, Batch> =
            found.into_iter().map(|batch| (batch.batch_id.clone(), batch)).collect();
        let waited_for = self.waited_for();
        for batch_id in looked_for {
            let Some(sender) = waited_for.get(batch_id) else { continue };
            let now = found.remove(batch_id);
            sender.send_if_modified(|known| {
                let is_news = !matches!(known, Some(Ok(known)) if *known == now);
                *known = Some(Ok(now));
                is_news
            });
        }
    }

    fn give_up(&self, error: &Arc<DatabaseError>) {
        for (_, sender) in self.waited_for().drain() {
            sender.send_replace(Some(Err(WaitEnd::Database(Arc::clone(error)))));
        }
    }
}

impl BatchWait {
    /// What is known of the batch, once that is something new.
    pub async fn next(&mut self) -> Result<Option<Batch>, WaitEnd> {
        let Self { known, shutdown, deadline } = self;
        let deadline_passed = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.when()).await,
                None => std::future::pending().await,
            }
        };
        let news = async {
            loop {
                // Whoever looks ends only with the service.
                known.changed().await.map_err(|_| WaitEnd::ShuttingDown)?;
                if let Some(known) = known.borrow_and_update().clone() {
                    return known;
                }
            }
        };
        tokio::select! {
            biased;
            () = shutdown.triggered() => Err(WaitEnd::ShuttingDown),
            news = news => news,
            () = deadline_passed => Err(WaitEnd::DeadlineExceeded),
        }
    }
}
