//! One transaction from BEGIN to COMMIT. This future is never dropped half-way: it is the body of
//! a task of its own.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgTransaction};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::DatabaseError;
use super::pool::{Database, Lease};
use crate::deadline::Deadline;

/// The server ends a statement at the deadline by itself and says so; this is how long we wait for
/// those words before we give the connection up. Far more than a round trip.
const ANSWER_GRACE: Duration = Duration::from_millis(500);

/// A COMMIT is worth waiting for beyond the deadline, since whoever asks must know: longer than an
/// fsync on a busy disk.
const COMMIT_GRACE: Duration = Duration::from_secs(5);

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// The same, with tables locked before the snapshot.
    ReadLocked(&'static str),
    Write,
}

/// How a transaction ended, and whether its connection can be used again.
enum End<T, E> {
    Confirmed(Result<T, E>),
    Broken(Result<T, E>),
}

/// Acquires a connection, begins, does the work, commits. `left` is cancelled when the caller has left: nothing is
/// begun for somebody who does not wait any more, while from BEGIN on everything goes through.
pub(super) async fn run<T, E, W>(
    database: &Database,
    access: Access,
    deadline: Deadline,
    left: CancellationToken,
    work: W,
) -> Result<T, E>
where
    E: From<DatabaseError>,
    W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>>,
{
    // After a restart of the database every pooled connection may be stale, and a fresh one is
    // behind them all.
    let mut stale = database.max_connections();
    loop {
        let mut lease = acquire(database, deadline, &left).await?;
        let end = match begin(&mut lease, access, deadline).await {
            Ok(transaction) => finish(transaction, access, deadline, work).await,
            // Nothing has been done yet, so another connection may try.
            Err(DatabaseError::Unavailable { .. }) if stale > 0 => {
                stale -= 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        return match end {
            End::Confirmed(result) => {
                lease.sound();
                result
            }
            End::Broken(result) => result,
        };
    }
}

/// Acquires a connection and asks one statement. `left` as for [`run`].
pub(super) async fn ask<T, W>(
    database: &Database,
    deadline: Deadline,
    left: CancellationToken,
    work: W,
) -> Result<T, DatabaseError>
where
    W: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>,
{
    let mut stale = database.max_connections();
    loop {
        let mut lease = acquire(database, deadline, &left).await?;
        let Ok(answer) = timeout_at(deadline.when(), work(lease.connection())).await else {
            return Err(DatabaseError::DeadlineExceeded);
        };
        // A statement that the server refused leaves its connection as it was.
        if matches!(answer, Ok(_) | Err(sqlx::Error::Database(_))) {
            lease.sound();
        }
        match answer.map_err(DatabaseError::from) {
            Err(DatabaseError::Unavailable { .. }) if stale > 0 => stale -= 1,
            answer => return answer,
        }
    }
}

async fn acquire(database: &Database, deadline: Deadline, left: &CancellationToken) -> Result<Lease, DatabaseError> {
    // In this order: the poll that brings a connection, which the work follows at once, has just asked for the caller.
    tokio::select! {
        biased;
        // Nobody hears this.
        () = left.cancelled() => Err(DatabaseError::DeadlineExceeded),
        lease = database.acquire(deadline) => lease,
    }
}

async fn begin(lease: &mut Lease, access: Access, deadline: Deadline) -> Result<PgTransaction<'_>, DatabaseError> {
    let kind = match access {
        Access::Read | Access::ReadLocked(_) => "begin isolation level repeatable read, read only",
        Access::Write => "begin",
    };
    let lock = match access {
        Access::ReadLocked(tables) => format!("; lock table {tables} in access share mode"),
        Access::Read | Access::Write => String::new(),
    };
    // All statements in one round trip. Zero would mean "no limit", hence at least 1 ms.
    let limit = deadline.remaining().as_millis().clamp(1, i32::MAX as u128);
    let statements = format!("{kind}; set local statement_timeout = {limit}{lock}");
    let begun = lease.connection().begin_with(AssertSqlSafe(statements));
    match timeout_at(deadline.when() + ANSWER_GRACE, begun).await {
        Ok(begun) => Ok(begun?),
        Err(_) => Err(DatabaseError::DeadlineExceeded),
    }
}

async fn finish<T, E, W>(mut transaction: PgTransaction<'_>, access: Access, deadline: Deadline, work: W) -> End<T, E>
where
    E: From<DatabaseError>,
    W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>>,
{
    let patience = deadline.when() + ANSWER_GRACE;
    let Ok(result) = timeout_at(patience, work(&mut transaction)).await else {
        return End::Broken(Err(DatabaseError::DeadlineExceeded.into()));
    };
    let value = match result {
        Ok(value) => value,
        Err(error) => return roll_back(transaction, deadline, error).await,
    };
    if deadline.is_past() {
        return roll_back(transaction, deadline, DatabaseError::DeadlineExceeded.into()).await;
    }
    if access == Access::Write
        && let Err(error) = still_alive(&mut transaction, deadline).await
    {
        return roll_back(transaction, deadline, error.into()).await;
    }
    match access {
        Access::Read | Access::ReadLocked(_) => end_read(transaction, deadline, value).await,
        Access::Write => commit(transaction, deadline, value).await,
    }
}

/// What was read is read, however the transaction ends; only its connection may be of no more use.
async fn end_read<T, E>(transaction: PgTransaction<'_>, deadline: Deadline, value: T) -> End<T, E> {
    // Not up to the deadline: the value is worth something before it.
    let patience = deadline.when().min(Instant::now() + ANSWER_GRACE);
    match timeout_at(patience, transaction.commit()).await {
        Ok(Ok(())) => End::Confirmed(Ok(value)),
        Ok(Err(_)) | Err(_) => End::Broken(Ok(value)),
    }
}

async fn commit<T, E>(transaction: PgTransaction<'_>, deadline: Deadline, value: T) -> End<T, E>
where
    E: From<DatabaseError>,
{
    match timeout_at(deadline.when() + COMMIT_GRACE, transaction.commit()).await {
        Ok(Ok(())) => End::Confirmed(Ok(value)),
        Ok(Err(error)) => End::Broken(Err(DatabaseError::from_commit(error).into())),
        Err(_) => End::Broken(Err(DatabaseError::OutcomeUnknown { source: None }.into())),
    }
}

/// PostgreSQL answers COMMIT of a failed transaction with a quiet ROLLBACK, and the driver does not
/// tell them apart. Work that swallowed a statement's error would be acknowledged and lost. Any
/// statement in a failed transaction fails, so one more round trip tells.
async fn still_alive(transaction: &mut PgTransaction<'_>, deadline: Deadline) -> Result<(), DatabaseError> {
    let asked = sqlx::raw_sql("select 1").execute(&mut **transaction);
    match timeout_at(deadline.when() + ANSWER_GRACE, asked).await {
        Ok(answer) => Ok(answer.map(|_| ())?),
        Err(_) => Err(DatabaseError::DeadlineExceeded),
    }
}

async fn roll_back<T, E>(transaction: PgTransaction<'_>, deadline: Deadline, error: E) -> End<T, E> {
    let patience = deadline.when().max(Instant::now()) + ANSWER_GRACE;
    match timeout_at(patience, transaction.rollback()).await {
        Ok(Ok(())) => End::Confirmed(Err(error)),
        // The connection is closed instead, which rolls back as well; the error that led here is
        // the one worth telling.
        Ok(Err(_)) | Err(_) => End::Broken(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::super::pool::CLOSE_LIMIT;
    use super::super::stand_in::{Commit, PATIENCE, StandIn, database_at};
    use super::*;

    async fn read(database: &Database) -> Result<u8, DatabaseError> {
        let read = database.read(Deadline::after(PATIENCE), |_| Box::pin(async { Ok::<_, DatabaseError>(7) }));
        timeout(PATIENCE / 2, read).await.expect("a read is answered long before its deadline")
    }

    #[tokio::test]
    async fn what_was_read_is_answered_however_its_transaction_ends_but_its_connection_is_closed() {
        for commit in [Commit::ConnectionLost, Commit::NeverAnswered, Commit::Garbled] {
            let server = StandIn::start(commit).await;
            let database = database_at(server.address);
            assert_eq!(read(&database).await.unwrap(), 7, "{commit:?}");
            assert_eq!(read(&database).await.unwrap(), 7, "{commit:?}");
            assert_eq!(server.heard("connected"), 2, "{commit:?}");
        }
        let server = StandIn::start(Commit::Confirmed).await;
        let database = database_at(server.address);
        for _ in 0..2 {
            assert_eq!(read(&database).await.unwrap(), 7);
        }
        assert_eq!(server.heard("connected"), 1, "a sound connection is used again");
    }

    #[tokio::test]
    async fn a_write_whose_commit_was_not_answered_as_a_commit_is_has_an_unknown_outcome() {
        for commit in [Commit::ConnectionLost, Commit::Garbled] {
            let server = StandIn::start(commit).await;
            let database = database_at(server.address);
            let write = database.write(Deadline::after(PATIENCE), |_| Box::pin(async { Ok::<_, DatabaseError>(()) }));
            let error = timeout(PATIENCE, write).await.unwrap().unwrap_err();
            assert!(matches!(error, DatabaseError::OutcomeUnknown { source: Some(_) }), "{commit:?}: {error:?}");
        }
    }

    #[test]
    fn the_end_of_the_runtime_leaves_the_outcome_of_writes_unknown_and_of_no_read() {
        let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for access in [Access::Read, Access::Write] {
            let ending = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let silent = ending.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let database = ending.block_on(async { database_at(silent.local_addr().unwrap()) });
            let deadline = Deadline::after(PATIENCE);
            let mut answer = Box::pin(async move {
                match access {
                    Access::Read | Access::ReadLocked(_) => {
                        database.read(deadline, |_| Box::pin(async { Ok::<_, DatabaseError>(()) })).await
                    }
                    Access::Write => database.write(deadline, |_| Box::pin(async { Ok::<_, DatabaseError>(()) })).await,
                }
            });
            // Its first poll starts the task, in the runtime that then ends.
            ending.block_on(async { assert!(futures::poll!(answer.as_mut()).is_pending()) });
            ending.shutdown_timeout(PATIENCE);
            let error = waiting.block_on(answer).unwrap_err();
            match access {
                Access::Read | Access::ReadLocked(_) => {
                    assert!(matches!(error, DatabaseError::Unavailable { .. }), "{error:?}")
                }
                Access::Write => assert!(matches!(error, DatabaseError::OutcomeUnknown { .. }), "{error:?}"),
            }
        }
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let seen = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{what}"));
    }

    /// Starts work that holds the only connection until a permit comes.
    fn hold(database: &Database, gate: &Arc<Semaphore>) -> tokio::task::JoinHandle<Result<(), DatabaseError>> {
        let (database, gate) = (database.clone(), gate.clone());
        tokio::spawn(async move {
            let work = database.write(Deadline::after(PATIENCE * 2), |_| {
                Box::pin(async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(())
                })
            });
            work.await
        })
    }

    #[tokio::test]
    async fn callers_that_leave_take_their_waiting_work_along() {
        let server = StandIn::start(Commit::Confirmed).await;
        let database = database_at(server.address);
        let gate = Arc::new(Semaphore::new(0));
        let holder = hold(&database, &gate);
        until("the holder begins", || server.heard("begin") == 1).await;
        let waiting = [(); 20].map(|()| hold(&database, &gate));
        until("all wait", || database.tasks() == 21).await;
        for caller in &waiting {
            caller.abort();
        }
        until("their work goes", || database.tasks() == 1).await;
        gate.add_permits(21);
        timeout(PATIENCE, holder).await.unwrap().unwrap().unwrap();
        read(&database).await.unwrap();
        assert_eq!(server.heard("begin"), 2, "the holder's and the last read's");
    }

    #[tokio::test]
    async fn closing_takes_no_longer_than_its_limit_whatever_is_under_way() {
        let server = StandIn::start(Commit::Confirmed).await;
        let database = database_at(server.address);
        let gate = Arc::new(Semaphore::new(0));
        let holder = hold(&database, &gate);
        until("the work begins", || server.heard("begin") == 1).await;
        timeout(CLOSE_LIMIT + ANSWER_GRACE, database.close()).await.expect("closing is bounded");
        assert!(!holder.is_finished());
    }

    #[tokio::test]
    async fn work_that_has_begun_is_committed_also_when_its_caller_has_left() {
        let server = StandIn::start(Commit::Confirmed).await;
        let database = database_at(server.address);
        let gate = Arc::new(Semaphore::new(0));
        let caller = hold(&database, &gate);
        until("the work begins", || server.heard("begin") == 1).await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        gate.add_permits(1);
        until("it is committed", || server.heard("commit") == 1).await;
    }
}
