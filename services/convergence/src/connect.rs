//! Connections to both sides, every use of them bounded by the deadline of the check.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use futures::TryStreamExt;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Postgres};
use tandem_chassis::shutdown::Shutdown;
use tokio::time::Instant;

use crate::error::{CheckError, Side};

/// What every session of a verifier is called in `pg_stat_activity`.
pub(crate) const APPLICATION_NAME: &str = "tandem-verify";

/// How values look as text, so that both sides write them alike; and what makes a server notice that we are gone:
/// in the middle of a statement after a second, behind a broken network after half a minute.
const SESSION: [(&str, &str); 13] = [
    ("search_path", "pg_catalog"),
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("client_connection_check_interval", "1s"),
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    // Reads are spread by ourselves, and the writers want processors too.
    ("max_parallel_workers_per_gather", "0"),
    ("jit", "off"),
    // Our own marks in the log wait for its disk, and for no standby.
    ("synchronous_commit", "local"),
];

/// The end of the time that the caller allowed, or of his patience.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    timeout: Duration,
    at: Instant,
    stop: Shutdown,
}

impl Deadline {
    pub(crate) fn after(timeout: Duration, stop: Shutdown) -> Self {
        Self { timeout, at: Instant::now() + timeout, stop }
    }

    /// Waits for `future`, and at most until the deadline or until the caller stops it.
    pub(crate) async fn bound<T>(
        &self,
        doing: impl FnOnce() -> String,
        future: impl Future<Output = Result<T, CheckError>>,
    ) -> Result<T, CheckError> {
        tokio::select! {
            biased;
            () = self.stop.triggered() => Err(CheckError::Stopped { doing: doing() }),
            bounded = tokio::time::timeout_at(self.at, future) => match bounded {
                Ok(result) => result,
                Err(_) => Err(CheckError::TimedOut { timeout: self.timeout, doing: doing() }),
            },
        }
    }

    /// Rests, and ends in [`CheckError::TimedOut`] at the deadline.
    pub(crate) async fn pause(&self, pause: Duration, doing: &str) -> Result<(), CheckError> {
        let pausing = async {
            tokio::time::sleep(pause).await;
            Ok(())
        };
        self.bound(|| doing.to_owned(), pausing).await
    }
}

/// A connection that knows which side it leads to.
pub(crate) struct Database {
    pub(crate) side: Side,
    pub(crate) connection: PgConnection,
    pub(crate) deadline: Deadline,
    /// The server's process.
    pub(crate) pid: i32,
}

impl Database {
    /// Connects with `default_transaction_read_only`, so that the check can't write to a table by mistake.
    pub(crate) async fn connect(side: Side, url: &str, deadline: &Deadline) -> Result<Self, CheckError> {
        Self::open(side, url, deadline, &[("default_transaction_read_only", "on")]).await
    }

    /// Connects with further settings of the session.
    pub(crate) async fn open(
        side: Side,
        url: &str,
        deadline: &Deadline,
        further: &[(&str, &str)],
    ) -> Result<Self, CheckError> {
        // The server gives up with us: a dropped connection alone leaves the statement running.
        let statement_timeout = format!("{}ms", deadline.timeout.as_millis().max(1));
        let options = PgConnectOptions::from_str(url)
            .map_err(|source| CheckError::Url { side, source })?
            .application_name(APPLICATION_NAME)
            .options(SESSION)
            .options(further.iter().copied())
            .options([("statement_timeout", statement_timeout.as_str())])
            .disable_statement_logging();
        let connecting = async {
            let mut connection =
                PgConnection::connect_with(&options).await.map_err(|source| CheckError::Connect { side, source })?;
            let pid = sqlx::query_scalar("select pg_backend_pid()")
                .fetch_one(&mut connection)
                .await
                .map_err(|source| CheckError::Connect { side, source })?;
            Ok(Self { side, connection, deadline: deadline.clone(), pid })
        };
        deadline.bound(|| format!("connecting to the {side}"), connecting).await
    }

    /// Names a failed statement.
    pub(crate) fn failed(&self, doing: &str) -> impl FnOnce(sqlx::Error) -> CheckError + use<> {
        let (side, doing) = (self.side, doing.to_owned());
        move |source| CheckError::Query { side, doing, source }
    }

    /// Runs statements that answer nothing. Every name in them came quoted from a catalogue.
    pub(crate) async fn execute(&mut self, doing: &str, statements: &str) -> Result<(), CheckError> {
        let failed = self.failed(doing);
        let executing = async {
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.connection).await.map_err(failed)?;
            Ok(())
        };
        self.deadline.bound(|| doing.to_owned(), executing).await
    }

    /// Asks, and reads each row of the answer.
    pub(crate) async fn ask<'q, T>(
        &mut self,
        doing: &str,
        query: Query<'q, Postgres, PgArguments>,
        mut read: impl FnMut(PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, CheckError> {
        let failed = self.failed(doing);
        let asking = async {
            // Questions differ by the ranges that they name: none is kept as a prepared statement.
            let mut rows = query.persistent(false).fetch(&mut self.connection);
            let mut answers = Vec::new();
            while let Some(row) = rows.try_next().await? {
                answers.push(read(row)?);
            }
            Ok(answers)
        };
        let asking = async { asking.await.map_err(failed) };
        self.deadline.bound(|| doing.to_owned(), asking).await
    }

    /// Asks for exactly one row.
    pub(crate) async fn ask_one<'q, T>(
        &mut self,
        doing: &str,
        query: Query<'q, Postgres, PgArguments>,
        mut read: impl FnMut(PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<T, CheckError> {
        let failed = self.failed(doing);
        let asking = async {
            let row = query.persistent(false).fetch_one(&mut self.connection).await;
            row.and_then(&mut read).map_err(failed)
        };
        self.deadline.bound(|| doing.to_owned(), asking).await
    }
}
