//! The connection of a lane. It outlives the lane's batches, and belongs to nobody else.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tandem_chassis::database::{Database, DatabaseError};
use tandem_replication::{Lsn, Position, SystemIdentity};
use tokio::time::{Instant, timeout};

/// Waiting for the primary to accept a connection: as long as a call waits for a pooled one.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// No statement of a batch takes longer, whatever its callers would wait for: the lane's other callers wait with them.
/// A batch of commands on existing sales sets a nearer limit.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that has rested so long is asked before it is used: one that broke meanwhile is told from one that breaks
/// in the middle of a statement, of which nobody knows what became. Under load no connection ever rests so long.
const REST: Duration = Duration::from_millis(100);
/// A server that does not answer within this is taken for gone.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to the primary and the history that it is on. A primary's timeline does not change while a connection
/// lives: a promotion ends them all.
pub struct LaneConnection {
    pub(super) connection: PgConnection,
    identity: SystemIdentity,
    used: Instant,
}

impl LaneConnection {
    /// Connects, beside the pool.
    pub async fn open(database: &Database) -> Result<Self, DatabaseError> {
        let mut connection = database.connect(CONNECT_TIMEOUT).await?;
        // Foreign keys are checked with a plan that is kept until the tables are analyzed. One that was made while they
        // were small reads all of them for each item.
        let settings = format!("set statement_timeout = {}; set enable_seqscan = off", STATEMENT_TIMEOUT.as_millis());
        sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await?;
        let identity = Position::current(&mut connection).await?.identity;
        Ok(Self { connection, identity, used: Instant::now() })
    }

    /// Whether the connection can be used. Only one that has rested is asked.
    pub async fn is_alive(&mut self) -> bool {
        if self.used.elapsed() < REST {
            return true;
        }
        let answer = timeout(PING_TIMEOUT, self.connection.ping()).await;
        answer.is_ok_and(|answer| answer.is_ok())
    }

    /// Behind everything that this connection has committed.
    pub async fn position(&mut self) -> Result<Position, DatabaseError> {
        let lsn = sqlx::query_scalar!(r#"select pg_current_wal_insert_lsn() as "lsn!: Lsn""#)
            .fetch_one(&mut self.connection)
            .await?;
        self.used = Instant::now();
        Ok(Position { identity: self.identity, lsn })
    }
}
