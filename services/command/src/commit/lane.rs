//! A lane: a queue and a connection. While it commits, commands queue; then it takes all that wait, up to a limit, and
//! commits them in one transaction. No timer adds latency: a lone command is a batch of its own.

use std::{collections::HashSet, sync::Arc, time::Duration};

use metrics::histogram;
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use super::split;
use crate::{
    domain::Command,
    store::{LaneConnection, Receipt, StoreError},
};

/// Where one command's locks hold up the others of its batch, they hold them up no longer than this.
const MAX_PATIENCE: Duration = Duration::from_secs(2);

/// Rows that end a batch, whatever room it has: callers of single sales don't wait for many batches of others. Some
/// tenths of a second of work.
const MAX_ROWS: usize = 10_000;

/// A command that waits for its turn.
pub struct Waiting {
    pub command: Command,
    pub deadline: Deadline,
    pub since: Instant,
    pub answer: oneshot::Sender<Result<Receipt, StoreError>>,
}

/// A queue and a connection.
pub struct Lane {
    database: Database,
    connection: Option<LaneConnection>,
    queue: mpsc::Receiver<Waiting>,
    /// Taken, but not to be committed together with what was taken before: the same request id twice.
    put_off: Vec<Waiting>,
    batch: usize,
    committed: Arc<Notify>,
}

impl Lane {
    pub fn new(database: Database, queue: mpsc::Receiver<Waiting>, batch: usize, committed: Arc<Notify>) -> Self {
        Self { database, connection: None, queue, put_off: Vec::new(), batch, committed }
    }

    /// Commits batch after batch until nobody can send any more.
    pub async fn run(mut self) {
        while let Some(batch) = self.take().await {
            self.commit(batch).await;
        }
    }

    /// All that waits, up to the limit; waits for the first. `None` at the end.
    async fn take(&mut self) -> Option<Vec<Waiting>> {
        let mut taken = std::mem::take(&mut self.put_off);
        if taken.is_empty() {
            taken.push(self.queue.recv().await?);
        }
        let mut rows: usize = taken.iter().map(|waiting| waiting.command.change.rows()).sum();
        while taken.len() < self.batch
            && rows < MAX_ROWS
            && let Ok(waiting) = self.queue.try_recv()
        {
            rows += waiting.command.change.rows();
            taken.push(waiting);
        }
        let mut request_ids = HashSet::with_capacity(taken.len());
        let mut batch = Vec::with_capacity(taken.len());
        for waiting in taken {
            let request_id = waiting.command.request.map(|request| request.request_id);
            if waiting.deadline.is_past() {
                answer(waiting.answer, Err(StoreError::DeadlinePassed));
            } else if request_id.is_none_or(|id| request_ids.insert(id)) {
                histogram!("tandem_lane_queue_seconds").record(waiting.since.elapsed());
                batch.push(waiting);
            } else {
                self.put_off.push(waiting);
            }
        }
        Some(batch)
    }

    async fn commit(&mut self, batch: Vec<Waiting>) {
        if batch.is_empty() {
            return;
        }
        histogram!("tandem_lane_batch_size").record(batch.len() as f64);
        let begun = Instant::now();
        let patience = batch.iter().map(|waiting| waiting.deadline.remaining()).min().unwrap_or(MAX_PATIENCE);
        let (commands, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.command, w.answer)).unzip();
        let results = self.write(&commands, patience.min(MAX_PATIENCE)).await;
        histogram!("tandem_lane_commit_seconds").record(begun.elapsed());
        self.committed.notify_one();
        for (to, result) in answers.into_iter().zip(results) {
            answer(to, result);
        }
    }

    async fn write(&mut self, commands: &[Command], patience: Duration) -> Vec<Result<Receipt, StoreError>> {
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return split::all_fail(commands.len(), error),
        };
        let (results, is_sound) = split::write(&mut connection, commands, patience).await;
        if is_sound {
            self.connection = Some(connection);
        }
        results
    }

    async fn connect(&mut self) -> Result<LaneConnection, DatabaseError> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_alive().await
        {
            return Ok(connection);
        }
        LaneConnection::open(&self.database).await
    }
}

/// Tells the caller, unless it has stopped waiting: then the command was carried out all the same, or not at all.
fn answer(to: oneshot::Sender<Result<Receipt, StoreError>>, result: Result<Receipt, StoreError>) {
    if to.send(result).is_err() {
        tracing::debug!("a caller stopped waiting before its command was answered");
    }
}
