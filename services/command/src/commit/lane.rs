//! A lane: a queue and a connection. While it commits, commands queue; then it takes all that wait, up to a limit, and
//! commits them in one transaction. No timer adds latency: a lone command is a batch of its own.

use std::{collections::HashSet, sync::Arc, time::Duration};

use metrics::histogram;
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
};
use tandem_replication::SystemIdentity;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{
    answers::{Caller, Committed, tell_one},
    split,
};
use crate::{
    domain::Command,
    store::{Done, LaneConnection, StoreError},
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
    pub caller: Caller,
}

/// A queue and a connection.
pub struct Lane {
    database: Database,
    connection: Option<LaneConnection>,
    queue: mpsc::Receiver<Waiting>,
    /// Taken, but not to be committed together with what was taken before: the same request id twice.
    put_off: Vec<Waiting>,
    batch: usize,
    /// Where those go that were carried out.
    committed: mpsc::Sender<Committed>,
    /// Told of each commit.
    heartbeat: Arc<Notify>,
}

impl Lane {
    pub fn new(
        database: Database,
        queue: mpsc::Receiver<Waiting>,
        batch: usize,
        committed: mpsc::Sender<Committed>,
        heartbeat: Arc<Notify>,
    ) -> Self {
        Self { database, connection: None, queue, put_off: Vec::new(), batch, committed, heartbeat }
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
                tell_one(waiting.caller, Err(StoreError::DeadlinePassed));
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
        let (commands, callers): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.command, w.caller)).unzip();
        let (results, identity) = self.write(&commands, patience.min(MAX_PATIENCE)).await;
        histogram!("tandem_lane_commit_seconds").record(begun.elapsed());
        let mut done = Vec::with_capacity(callers.len());
        for (caller, result) in callers.into_iter().zip(results) {
            match result {
                Ok(result) => done.push((caller, result)),
                Err(error) => tell_one(caller, Err(error)),
            }
        }
        let Some(identity) = identity.filter(|_| !done.is_empty()) else { return };
        self.heartbeat.notify_one();
        if self.committed.send(Committed { identity, done }).await.is_err() {
            tracing::error!("nobody is left to answer what was committed");
        }
    }

    /// What became of the commands, and the history that they are in; `None` where no database was there.
    async fn write(
        &mut self,
        commands: &[Command],
        patience: Duration,
    ) -> (Vec<Result<Done, StoreError>>, Option<SystemIdentity>) {
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return (split::all_fail(commands.len(), error), None),
        };
        let identity = connection.identity();
        let (results, is_sound) = split::write(&mut connection, commands, patience).await;
        if is_sound {
            self.connection = Some(connection);
        }
        (results, Some(identity))
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
