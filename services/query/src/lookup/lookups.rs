//! Rounds of lookups. No timer adds latency: a lone caller is a round of its own.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::histogram;
use tandem_chassis::{database::DatabaseError, deadline::Deadline};
use tokio::{sync::oneshot, time::timeout_at};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    domain::Sale,
    store::{Answered, Replica},
};

/// Rounds at once: while one waits for the database, the other's answers are read.
const ROUNDS: usize = 2;

/// Sales of one round. With so many, what a statement costs beside its rows is a small part of it.
const MOST: usize = 64;

/// A round takes no longer, whatever its callers would wait for. Whoever is left goes on alone, on a connection of their
/// own: one that is cut off or held up may not hold up everybody.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a caller gets.
type Found = Answered<Option<Sale>>;

/// Looks sales up. Clones share the queue.
#[derive(Clone)]
pub struct Lookups {
    replica: Replica,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    callers: Vec<Caller>,
    rounds: usize,
}

struct Caller {
    transaction_id: Uuid,
    deadline: Deadline,
    answer: oneshot::Sender<Found>,
}

impl Lookups {
    /// Looks into `replica`.
    pub fn new(replica: Replica) -> Self {
        Self { replica, queue: Arc::default() }
    }

    /// One sale; `None` where there is none. The snapshot is taken after this call.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn sale(&self, transaction_id: Uuid, deadline: Deadline) -> Result<Found, DatabaseError> {
        let (answer, answered) = oneshot::channel();
        if self.queue.join(Caller { transaction_id, deadline, answer }) {
            let rounds = rounds(self.replica.clone(), Place(Some(Arc::clone(&self.queue))));
            // The caller's span ends before the rounds of those who come after it.
            tokio::spawn(rounds.instrument(tracing::Span::none()));
        }
        match timeout_at(deadline.when(), answered).await {
            Err(_) => Err(DatabaseError::DeadlineExceeded),
            Ok(Ok(found)) => Ok(found),
            // The round has failed. Alone, it is known why.
            Ok(Err(_)) => self.replica.sale(transaction_id, deadline).await,
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // What is done under this lock can't leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues, and says whether there is room for one more who makes rounds.
    fn join(&self, caller: Caller) -> bool {
        let mut waiting = self.lock();
        waiting.callers.push(caller);
        let has_room = waiting.rounds < ROUNDS;
        waiting.rounds += usize::from(has_room);
        has_room
    }
}

/// A place among those who make rounds.
struct Place(Option<Arc<Queue>>);

impl Place {
    /// Who is in the next round. Where nobody waits the place is given up in the same moment, so that whoever comes next
    /// finds it free.
    fn next_round(&mut self) -> Option<Vec<Caller>> {
        let queue = self.0.take()?;
        let mut waiting = queue.lock();
        if waiting.callers.is_empty() {
            waiting.rounds -= 1;
            return None;
        }
        let most = waiting.callers.len().min(MOST);
        let callers = waiting.callers.drain(..most).collect();
        drop(waiting);
        self.0 = Some(queue);
        Some(callers)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Only where a round has panicked.
        if let Some(queue) = &self.0 {
            queue.lock().rounds -= 1;
        }
    }
}

/// Makes rounds for as long as somebody waits.
async fn rounds(replica: Replica, mut place: Place) {
    while let Some(mut callers) = place.next_round() {
        callers.retain(|caller| !caller.answer.is_closed());
        if !callers.is_empty() {
            round(&replica, callers).await;
        }
    }
}

/// Answers these callers, or, where that fails, lets go of them.
async fn round(replica: &Replica, callers: Vec<Caller>) {
    let mut ids: Vec<_> = callers.iter().map(|caller| caller.transaction_id).collect();
    ids.sort_unstable();
    ids.dedup();
    histogram!("tandem_lookup_round_sales").record(ids.len() as f64);
    let patience = callers.iter().map(|caller| caller.deadline.remaining()).max().unwrap_or_default().min(PATIENCE);
    let found = match replica.sales_by_id(ids, Deadline::after(patience)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(callers = callers.len(), %error, "a round of lookups failed: each is tried alone");
            return;
        }
    };
    for Caller { transaction_id, answer, .. } in callers {
        let sale = found.answer.get(&transaction_id).cloned();
        if answer.send(Answered { answer: sale, covered: found.covered }).is_err() {
            tracing::debug!("a caller stopped waiting before its sale was found");
        }
    }
}
