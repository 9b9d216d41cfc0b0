//! The pool: lazy, bounded, measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use secrecy::ExposeSecret;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Postgres};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::DatabaseError;
use super::transaction::{self, Access};
use crate::deadline::Deadline;
use crate::settings::DatabaseSettings;

/// How long [`Database::close`] takes at most: longer than a COMMIT takes on a healthy disk. What is not done then
/// needs nobody here: the server carries out a COMMIT that it has got, and rolls back everything else.
pub(crate) const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// How often a server that runs a statement of the pool looks whether anybody still waits for it.
const CLIENT_CHECK: &str = "500ms";

/// A pool of connections to one PostgreSQL database. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Database {
    pool: PgPool,
    options: Arc<PgConnectOptions>,
    /// The health probe has a connection of its own: a busy pool is not a database that is away.
    probe: Arc<Mutex<Option<PgConnection>>>,
    work: TaskTracker,
    /// Connections on loan now.
    held: Arc<AtomicU32>,
    /// Loans so far.
    loans: Arc<AtomicU64>,
    max_connections: u32,
    acquire_timeout: Duration,
    name: Arc<str>,
}

impl Database {
    /// A pool that connects when it is first used: the process starts while the database is away.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// None today; the signature leaves room for settings that contradict each other.
    pub fn new(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        let options = connect_options(settings);
        let max_connections = settings.max_connections.get();
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(settings.acquire_timeout)
            // A stale connection shows itself at BEGIN, which is retried on another: no call pays
            // a round trip for a ping.
            .test_before_acquire(false)
            // The driver's own warning would repeat what the histogram and the failed call say.
            .acquire_slow_threshold(Duration::MAX)
            .connect_lazy_with(options.clone().options([("client_connection_check_interval", CLIENT_CHECK)]));
        Ok(Self {
            pool,
            options: Arc::new(options),
            probe: Arc::default(),
            work: TaskTracker::new(),
            held: Arc::default(),
            loans: Arc::default(),
            max_connections,
            acquire_timeout: settings.acquire_timeout,
            name: settings.application_name.as_str().into(),
        })
    }

    /// Runs `work` in a READ COMMITTED transaction and commits it; rolls back when `work` returns
    /// an error. When the caller's future is dropped, work that has begun goes on, and work that still waits for a
    /// connection is given up.
    ///
    /// What is left of `deadline` becomes the transaction's `statement_timeout`. Work that catches
    /// an error of a statement must use a savepoint: otherwise PostgreSQL has given the
    /// transaction up, and this reports `Storage` instead of committing nothing.
    ///
    /// # Errors
    /// Whatever `work` returns, or a [`DatabaseError`] turned into `E`.
    pub async fn write<T, E>(
        &self,
        deadline: Deadline,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        self.run(Access::Write, deadline, work).await
    }

    /// Runs `work` in a REPEATABLE READ, READ ONLY transaction: all its statements see one
    /// snapshot, taken by the first of them. Its value is given however the COMMIT ends, and `OutcomeUnknown` never
    /// comes. Otherwise as [`write`](Self::write).
    ///
    /// # Errors
    /// Whatever `work` returns, or a [`DatabaseError`] turned into `E`.
    pub async fn read<T, E>(
        &self,
        deadline: Deadline,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        self.run(Access::Read, deadline, work).await
    }

    /// As [`read`](Self::read), with `tables` (a list, as SQL has it) locked against nothing but being emptied or taken
    /// away, before the snapshot is taken: no snapshot knows of a TRUNCATE or of a table that takes another's place, which
    /// therefore comes before all of `work` or after it. In the same round trip as BEGIN.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_locked<T, E>(
        &self,
        tables: &'static str,
        deadline: Deadline,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        self.run(Access::ReadLocked(tables), deadline, work).await
    }

    async fn run<T, E, W>(&self, access: Access, deadline: Deadline, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        self.detached(access, move |database, left| async move {
            transaction::run(&database, access, deadline, left, work).await
        })
        .await
    }

    /// Runs `body` in a task of its own, and tells it when this future is dropped.
    async fn detached<T, E, F>(
        &self,
        access: Access,
        body: impl FnOnce(Database, CancellationToken) -> F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let caller = CancellationToken::new();
        let task = body(self.clone(), caller.clone());
        let _caller = caller.drop_guard();
        match self.work.spawn(task.in_current_span()).await {
            Ok(result) => result,
            Err(ended) if ended.is_panic() => Err(DatabaseError::WorkPanicked.into()),
            // The runtime is shutting down and took the task with it, wherever it stood.
            Err(_) => Err(match access {
                Access::Read | Access::ReadLocked(_) => {
                    DatabaseError::Unavailable { source: sqlx::Error::WorkerCrashed }
                }
                Access::Write => DatabaseError::OutcomeUnknown { source: None },
            }
            .into()),
        }
    }

    /// Runs `work`, which must be one statement, by itself: one snapshot and one round trip, where
    /// [`read`](Self::read) takes three at least. On a connection that turns out to be stale it is tried again on
    /// another, and so `work` may be called several times. What still runs at the deadline is given up with its
    /// connection, which the server notices within [`CLIENT_CHECK`].
    ///
    /// # Errors
    /// A [`DatabaseError`]; never `OutcomeUnknown`.
    pub async fn ask<T>(
        &self,
        deadline: Deadline,
        work: impl for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send + Sync + 'static,
    ) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
    {
        self.detached(Access::Read, move |database, left| async move {
            transaction::ask(&database, deadline, left, work).await
        })
        .await
    }

    /// A connection beside the pool, for work that keeps one for itself.
    ///
    /// # Errors
    /// `Unavailable` when there was none within `limit`, otherwise what went wrong.
    pub async fn connect(&self, limit: Duration) -> Result<PgConnection, DatabaseError> {
        match timeout(limit, self.options.connect()).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(DatabaseError::away()),
        }
    }

    /// Asks the database `select 1` over the probe's own connection.
    ///
    /// # Errors
    /// `DeadlineExceeded` when no answer came within `limit`, otherwise what went wrong.
    pub async fn ping(&self, limit: Duration) -> Result<(), DatabaseError> {
        self.publish_gauges();
        let mut slot = self.probe.lock().await;
        // Taken out of its slot: whatever ends this future half-way also drops the connection.
        let connection = slot.take();
        let answer = async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => self.options.connect().await?,
            };
            sqlx::raw_sql("select 1").execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        match timeout(limit, answer).await {
            Ok(Ok(connection)) => {
                *slot = Some(connection);
                Ok(())
            }
            Ok(Err(error)) => Err(DatabaseError::from(error)),
            Err(_) => Err(DatabaseError::DeadlineExceeded),
        }
    }

    /// Waits for work whose caller has left, then closes all connections; takes 2 seconds at most. For the end of the
    /// process, after the server has drained. Several databases are closed at the same time (`tokio::join!`).
    pub async fn close(&self) {
        self.work.close();
        let closing = async {
            self.work.wait().await;
            if let Some(connection) = self.probe.lock().await.take()
                && let Err(error) = connection.close().await
            {
                tracing::debug!(%error, "the probe's connection did not close cleanly");
            }
            self.pool.close().await;
        };
        if timeout(CLOSE_LIMIT, closing).await.is_ok() {
            return;
        }
        match self.work.len() {
            0 => tracing::debug!(pool = %self.name, "connections did not close in time"),
            tasks => tracing::warn!(pool = %self.name, tasks, "database work was still under way at exit"),
        }
    }

    /// Number of connections the pool may hold.
    pub(super) fn max_connections(&self) -> u32 {
        self.max_connections
    }

    /// A connection of the pool, waited for within the deadline and the pool's own limit.
    pub(super) async fn acquire(&self, deadline: Deadline) -> Result<Lease, DatabaseError> {
        let started = Instant::now();
        let loans_before = self.loans.load(Ordering::Relaxed);
        let limit = deadline.when().min(started + self.acquire_timeout);
        let outcome = timeout_at(limit, self.pool.acquire()).await;
        metrics::histogram!("database_pool_acquire_seconds", "pool" => self.name.to_string()).record(started.elapsed());
        match outcome {
            Ok(Ok(connection)) => Ok(Lease::new(connection, self)),
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => Err(self.why_no_connection(deadline, loans_before)),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    /// The driver reports one time-out for three things; what was lent out tells them apart.
    fn why_no_connection(&self, deadline: Deadline, loans_before: u64) -> DatabaseError {
        let all_held = self.held.load(Ordering::Relaxed) >= self.max_connections;
        // Others got a connection while this one waited: the database is there, the pool is short.
        let others_served = self.loans.load(Ordering::Relaxed) != loans_before;
        if deadline.is_past() {
            DatabaseError::DeadlineExceeded
        } else if all_held || others_served {
            DatabaseError::PoolExhausted
        } else {
            // Nobody held or got all there are, so the wait was for one that could not be opened.
            let source = sqlx::Error::PoolTimedOut;
            DatabaseError::Unavailable { source }
        }
    }

    /// Tasks that wait or work.
    #[cfg(test)]
    pub(super) fn tasks(&self) -> usize {
        self.work.len()
    }

    fn publish_gauges(&self) {
        let held = f64::from(self.held.load(Ordering::Relaxed));
        let size = f64::from(self.pool.size());
        let pool = || self.name.to_string();
        metrics::gauge!("database_pool_size", "pool" => pool()).set(size);
        metrics::gauge!("database_pool_in_use", "pool" => pool()).set(held);
        metrics::gauge!("database_pool_idle", "pool" => pool()).set((size - held).max(0.0));
    }
}

/// A connection that is on loan. It goes back to the pool only when it was declared
/// [`sound`](Self::sound); otherwise it is closed, so that a transaction that was left half-way
/// dies with it.
pub(super) struct Lease {
    connection: PoolConnection<Postgres>,
    sound: bool,
    database: Database,
}

impl Lease {
    fn new(connection: PoolConnection<Postgres>, database: &Database) -> Self {
        database.held.fetch_add(1, Ordering::Relaxed);
        database.loans.fetch_add(1, Ordering::Relaxed);
        database.publish_gauges();
        let database = database.clone();
        Self { connection, sound: false, database }
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Says that the connection is outside any transaction, as the server confirmed.
    pub(super) fn sound(mut self) {
        self.sound = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.sound {
            self.connection.close_on_drop();
        }
        self.database.held.fetch_sub(1, Ordering::Relaxed);
        self.database.publish_gauges();
    }
}

pub(crate) fn connect_options(settings: &DatabaseSettings) -> PgConnectOptions {
    // Without a pgpass file: the process connects with what it was told and nothing it finds.
    let options = PgConnectOptions::new_without_pgpass()
        .host(&settings.host)
        .port(settings.port)
        .database(&settings.database)
        .username(&settings.user)
        .password(settings.password.expose_secret())
        .ssl_mode(settings.ssl_mode)
        .application_name(&settings.application_name)
        // "relation already exists, skipping" and its like are no news for a log.
        .options([("client_min_messages", "warning")])
        // The driver would log the SQL of a statement that was slow, which a lock alone makes it. The line of the call
        // says how long it took.
        .disable_statement_logging();
    match &settings.ssl_root_cert {
        Some(path) => options.ssl_root_cert(path),
        None => options,
    }
}
