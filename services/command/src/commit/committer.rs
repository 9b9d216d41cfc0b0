//! Takes commands and hands each to a lane.

use std::{
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    num::NonZeroUsize,
    sync::Arc,
};

use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use super::lane::{Lane, Waiting};
use crate::{
    domain::Command,
    store::{Receipt, StoreError, rehearse},
};

/// How many lanes there are, and how much each takes.
#[derive(Clone, Copy, Debug)]
pub struct LaneSettings {
    /// Lanes, each with a connection of its own.
    pub lanes: NonZeroUsize,
    /// Commands that one transaction commits at most.
    pub batch: NonZeroUsize,
    /// Commands that wait for one lane at most; one more is refused at once.
    pub queue: NonZeroUsize,
}

/// Commands that wait for a lane which has enough to do. Where one batch costs as much as its commands and not as much as
/// its COMMIT, more of them in one batch gain nothing.
const BUSY: usize = 64;

/// Carries commands out. Clones share the lanes, which end with the last clone.
#[derive(Clone)]
pub struct Committer {
    database: Database,
    lanes: Arc<[mpsc::Sender<Waiting>]>,
    committed: Arc<Notify>,
}

impl Committer {
    /// Starts the lanes. The handle ends when all of them have: after the last clone is gone and every command that
    /// was taken is answered.
    pub fn start(database: &Database, settings: LaneSettings) -> (Self, JoinHandle<()>) {
        let committed = Arc::new(Notify::new());
        let (mut senders, mut lanes) = (Vec::new(), Vec::new());
        for _ in 0..settings.lanes.get() {
            let (sender, queue) = mpsc::channel(settings.queue.get());
            let lane = Lane::new(database.clone(), queue, settings.batch.get(), Arc::clone(&committed));
            senders.push(sender);
            lanes.push(tokio::spawn(lane.run()));
        }
        let ended = tokio::spawn(async move {
            for lane in lanes {
                if let Err(error) = lane.await {
                    tracing::error!(%error, "a lane ended early");
                }
            }
        });
        let committer = Self { database: database.clone(), lanes: senders.into(), committed };
        (committer, ended)
    }

    /// Carries the command out as a whole or not at all, and says what was done. Once a lane has taken it, it goes on
    /// when the caller stops waiting.
    pub async fn submit(&self, command: Command, deadline: Deadline) -> Result<Receipt, StoreError> {
        if command.validate_only {
            let outcome = rehearse(&self.database, command, deadline).await?;
            return Ok(Receipt { outcome, replayed: false, token: None });
        }
        let (answer, answered) = oneshot::channel();
        let lane = self.lane_of(&command);
        let waiting = Waiting { command, deadline, since: Instant::now(), answer };
        self.lanes[lane].try_send(waiting).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => DatabaseError::WorkPanicked.into(),
        })?;
        // A lane answers all that it takes; one that can't has panicked.
        answered.await.unwrap_or_else(|_| Err(DatabaseError::WorkPanicked.into()))
    }

    /// Commands on one sale go through one lane, in the order in which they came: two would only wait for each other's
    /// locks. A new sale goes to the first lane that is not busy: few big batches cost less than many small ones, but
    /// while one lane waits for its COMMIT, another can use the processor.
    fn lane_of(&self, command: &Command) -> usize {
        if let Some(id) = command.change.target() {
            let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(id);
            return usize::try_from(hash >> 32).unwrap_or(0) % self.lanes.len();
        }
        let waiting = |lane: &mpsc::Sender<Waiting>| lane.max_capacity() - lane.capacity();
        let calm = self.lanes.iter().position(|lane| waiting(lane) < BUSY);
        calm.or_else(|| (0..self.lanes.len()).min_by_key(|lane| waiting(&self.lanes[*lane]))).unwrap_or(0)
    }

    /// Told after each commit.
    pub fn committed(&self) -> Arc<Notify> {
        Arc::clone(&self.committed)
    }
}
