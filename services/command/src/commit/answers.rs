//! Answers the callers of committed commands. Each answer has a token, a position behind its commit, which is read over a
//! connection of its own: the lanes commit the next batches meanwhile, and batches that have come together share one
//! reading.

use tandem_chassis::database::{Database, DatabaseError};
use tandem_replication::{Position, SystemIdentity};
use tokio::sync::{mpsc, oneshot};

use crate::store::{Done, LaneConnection, Receipt, StoreError};

/// Tries to read a position: a connection that has rested may be broken, and a new one is not.
const TRIES: usize = 2;

/// Hears what became of a command.
pub type Caller = oneshot::Sender<Result<Receipt, StoreError>>;

/// Commands of one batch that were carried out.
pub struct Committed {
    /// The history that they are in.
    pub identity: SystemIdentity,
    /// What each did, and who waits to hear it.
    pub done: Vec<(Caller, Done)>,
}

/// Answers what the lanes have committed.
pub struct Answers {
    database: Database,
    connection: Option<LaneConnection>,
    committed: mpsc::Receiver<Committed>,
}

impl Answers {
    pub const fn new(database: Database, committed: mpsc::Receiver<Committed>) -> Self {
        Self { database, connection: None, committed }
    }

    /// Answers until no lane is left.
    pub async fn run(mut self) {
        while let Some(first) = self.committed.recv().await {
            let mut batches = vec![first];
            while let Ok(next) = self.committed.try_recv() {
                batches.push(next);
            }
            // Read after all of them have come, so that it covers them all.
            let mut read = None;
            for Committed { identity, done } in batches {
                let position = match read {
                    Some(Position { identity: same, .. }) if same == identity => Ok(read),
                    _ => self.position(identity).await,
                };
                read = position.as_ref().ok().copied().flatten();
                tell(done, position);
            }
        }
    }

    /// A position of this history; `None` where the primary is on another one by now.
    async fn position(&mut self, identity: SystemIdentity) -> Result<Option<Position>, DatabaseError> {
        let mut found = Ok(None);
        for _ in 0..TRIES {
            found = self.read().await.map(Some);
            match &found {
                Ok(Some(position)) if position.identity == identity => return found,
                Ok(_) | Err(_) => self.connection = None,
            }
        }
        found.map(|_| None)
    }

    async fn read(&mut self) -> Result<Position, DatabaseError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => LaneConnection::open(&self.database).await?,
        };
        let position = connection.position().await?;
        self.connection = Some(connection);
        Ok(position)
    }
}

/// Without a position the write stands all the same, and its caller can't be told how to see it: a retry finds out.
fn tell(done: Vec<(Caller, Done)>, position: Result<Option<Position>, DatabaseError>) {
    let (token, error) = match position {
        Ok(position) => (position.map(|position| position.token()), None),
        Err(error) => (None, Some(error)),
    };
    // The cause goes to one caller, so that it is logged once.
    let mut source = error.and_then(DatabaseError::into_driver_error);
    for (caller, Done { outcome, replayed }) in done {
        let answer = match token {
            Some(token) => Ok(Receipt { outcome, replayed, token: Some(token) }),
            None => Err(DatabaseError::OutcomeUnknown { source: source.take() }.into()),
        };
        tell_one(caller, answer);
    }
}

/// Tells the caller, unless it has stopped waiting: then the command was carried out all the same, or not at all.
pub fn tell_one(caller: Caller, answer: Result<Receipt, StoreError>) {
    if caller.send(answer).is_err() {
        tracing::debug!("a caller stopped waiting before its command was answered");
    }
}
