//! One transaction from BEGIN to COMMIT. This future is never dropped half-way: it is the body of
//! a task of its own.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgTransaction};
use tokio::time::timeout_at;

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
    Write,
}

/// How a transaction ended, and whether its connection can be used again.
enum End<T, E> {
    Confirmed(Result<T, E>),
    Broken(E),
}

/// Acquires a connection, begins, does the work, commits.
pub(super) async fn run<T, E, W>(database: &Database, access: Access, deadline: Deadline, work: W) -> Result<T, E>
where
    E: From<DatabaseError>,
    W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>>,
{
    // After a restart of the database every pooled connection may be stale, and a fresh one is
    // behind them all.
    let mut stale = database.max_connections();
    loop {
        let mut lease = database.acquire(deadline).await?;
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
            End::Broken(error) => Err(error),
        };
    }
}

async fn begin(lease: &mut Lease, access: Access, deadline: Deadline) -> Result<PgTransaction<'_>, DatabaseError> {
    let kind = match access {
        Access::Read => "begin isolation level repeatable read, read only",
        Access::Write => "begin",
    };
    // Both statements in one round trip. Zero would mean "no limit", hence at least 1 ms.
    let limit = deadline.remaining().as_millis().clamp(1, i32::MAX as u128);
    let statements = format!("{kind}; set local statement_timeout = {limit}");
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
        return End::Broken(DatabaseError::DeadlineExceeded.into());
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
    match timeout_at(deadline.when() + COMMIT_GRACE, transaction.commit()).await {
        Ok(Ok(())) => End::Confirmed(Ok(value)),
        Ok(Err(error)) => End::Broken(DatabaseError::from_commit(error).into()),
        Err(_) => End::Broken(DatabaseError::OutcomeUnknown { source: None }.into()),
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
    let patience = deadline.when().max(tokio::time::Instant::now()) + ANSWER_GRACE;
    match timeout_at(patience, transaction.rollback()).await {
        Ok(Ok(())) => End::Confirmed(Err(error)),
        // The connection is closed instead, which rolls back as well; the error that led here is
        // the one worth telling.
        Ok(Err(_)) | Err(_) => End::Broken(error),
    }
}
