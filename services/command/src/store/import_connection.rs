//! The connection of an import's stream. It writes chunk after chunk, each in one database transaction with the row that
//! says how far the import has come; or all of them in one.

use std::{ops::Range, time::Duration};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tandem_chassis::database::{Database, DatabaseError};
use tandem_replication::{Position, SystemIdentity};
use uuid::Uuid;

use super::{
    connection::CONNECT_TIMEOUT,
    error::StoreError,
    import::{claim, is_ours, keep_position, keep_refusals, move_on, refusals_behind},
    import_batch::ImportBatch,
    import_rows::ImportChunk,
};
use crate::domain::{
    Violation,
    import::{MAX_REFUSED, Progress, Refusal},
};

/// No statement of a chunk takes longer. Thousands of rows take a fraction of a second; a lock on a whole table may hold
/// them up for as long as it takes to build an index.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a chunk, or the whole import, was not written.
#[derive(Debug, thiserror::Error)]
pub enum ImportWriteError {
    /// The import belongs to a newer stream.
    #[error("the import was taken over by a newer stream")]
    Superseded,
    /// The import was begun in the other mode.
    #[error("the import was begun with all_or_nothing = {}", !asked)]
    ModeChanged {
        /// What this stream asked for.
        asked: bool,
    },
    /// More rows are refused than one import may have.
    #[error("more than {MAX_REFUSED} rows are refused")]
    TooManyRefused,
    /// A row is refused, and no other may be written without it.
    #[error("row {row_number} is refused")]
    RowRefused {
        /// Which one.
        row_number: i64,
        /// What is wrong with it; nothing where no field is known to be the cause.
        violations: Vec<Violation>,
    },
    /// The database did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ImportWriteError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<DatabaseError> for ImportWriteError {
    fn from(error: DatabaseError) -> Self {
        Self::Store(error.into())
    }
}

/// What became of a chunk.
pub struct ImportWritten {
    /// Its refused rows, in their order.
    pub refused: Vec<Refusal>,
    /// Behind the chunk; `None` while the import's one database transaction is open.
    pub position: Option<Position>,
}

/// What a complete import did.
#[derive(Clone, Debug)]
pub struct ImportReceipt {
    /// Which import.
    pub import_id: Uuid,
    /// All of it.
    pub progress: Progress,
    /// Behind all of it.
    pub position: Position,
}

/// A connection that an import has for itself. After an error it must be dropped, which rolls back what is open.
pub struct ImportConnection {
    connection: PgConnection,
    identity: SystemIdentity,
    import_id: Uuid,
    all_or_nothing: bool,
    stream: i64,
    /// The last row that is durable.
    durable: i64,
    progress: Progress,
    is_complete: bool,
    /// Whether a database transaction is open.
    is_open: bool,
}

impl ImportConnection {
    /// Connects beside the pool, and begins the import or takes it over from an older stream. `patience` is how long a
    /// caller may leave a database transaction waiting for its rows.
    pub async fn begin(
        database: &Database,
        import_id: Uuid,
        all_or_nothing: bool,
        patience: Duration,
    ) -> Result<Self, ImportWriteError> {
        let mut connection = database.connect(CONNECT_TIMEOUT).await?;
        // Foreign keys are checked with a plan that is kept for as long as the connection lives. Made for a small table,
        // it reads the whole of it for each row, and a load goes quadratic.
        let settings = format!(
            "set statement_timeout = {}; set idle_in_transaction_session_timeout = {}; set enable_seqscan = off",
            STATEMENT_TIMEOUT.as_millis(),
            // Ours ends first; the server's own is for a service that is frozen.
            (2 * patience).as_millis(),
        );
        sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await?;
        let identity = Position::current(&mut connection).await?.identity;
        let mut transaction = connection.begin().await?;
        let stored = claim(&mut transaction, import_id, all_or_nothing).await?;
        if stored.all_or_nothing != all_or_nothing {
            transaction.rollback().await?;
            return Err(ImportWriteError::ModeChanged { asked: all_or_nothing });
        }
        if !stored.is_complete {
            ImportBatch { import_id, stream: stored.stream }.open(&mut transaction).await?;
        }
        transaction.commit().await.map_err(DatabaseError::from_commit)?;
        Ok(Self {
            connection,
            identity,
            import_id,
            all_or_nothing,
            stream: stored.stream,
            durable: stored.progress.last_row_number,
            progress: stored.progress,
            is_complete: stored.is_complete,
            is_open: false,
        })
    }

    /// How far the import has come.
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether nothing is left to be written.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The batch that the import is.
    pub const fn batch(&self) -> ImportBatch {
        ImportBatch { import_id: self.import_id, stream: self.stream }
    }

    /// The refused rows behind one.
    pub async fn refusals_behind(&mut self, row_number: i64) -> Result<Vec<Refusal>, StoreError> {
        refusals_behind(&mut self.connection, self.import_id, row_number).await
    }

    /// The receipt of a complete import: the same whenever it is asked for.
    pub async fn receipt(&mut self) -> Result<ImportReceipt, StoreError> {
        let Progress { rows_written, items_written, .. } = self.progress;
        let position = self.position().await?;
        self.batch().complete(&mut self.connection, position, rows_written, items_written).await?;
        // Once more, so that the receipt's token also covers what the batch says of itself.
        let position = self.position().await?;
        let kept = keep_position(&mut self.connection, self.import_id, position).await?;
        Ok(ImportReceipt {
            import_id: self.import_id,
            progress: self.progress.clone(),
            position: kept.unwrap_or(position),
        })
    }

    async fn position(&mut self) -> Result<Position, DatabaseError> {
        // All of the import stands: no error from here may say otherwise.
        let position = Position::current(&mut self.connection).await;
        position.map_err(|error| DatabaseError::OutcomeUnknown { source: Some(error) })
    }

    /// Writes the next chunk; with the last one the import is complete.
    pub async fn write(&mut self, chunk: ImportChunk, is_last: bool) -> Result<ImportWritten, ImportWriteError> {
        self.enter().await?;
        let found = self.copy(&chunk).await?;
        self.batch().add_part(&mut self.connection, &chunk.ids_without(&found)).await?;
        let sums = chunk.sums_without(&found);
        let mut refused = chunk.refused;
        refused.extend(found);
        refused.sort_unstable_by_key(|refusal| refusal.row_number);
        let before = &self.progress;
        self.progress = Progress {
            last_row_number: chunk.last_row_number,
            rows_written: before.rows_written + sums.rows,
            items_written: before.items_written + sums.items,
            rows_refused: before.rows_refused + count(&refused),
            total_amount: before.total_amount + sums.total_amount,
            total_discount: before.total_discount + sums.total_discount,
            content_hash: chunk.content_hash,
        };
        if self.progress.rows_refused > MAX_REFUSED {
            return Err(ImportWriteError::TooManyRefused);
        }
        if self.all_or_nothing && !is_last {
            // What it would find out at the end, after much work for nothing.
            if !is_ours(&mut self.connection, self.import_id, self.stream).await? {
                return Err(ImportWriteError::Superseded);
            }
            return Ok(ImportWritten { refused, position: None });
        }
        let position = Some(self.commit(&refused, is_last).await?);
        Ok(ImportWritten { refused, position })
    }

    /// Moves the import on and commits; gives the position behind it.
    async fn commit(&mut self, refused: &[Refusal], is_last: bool) -> Result<Position, ImportWriteError> {
        let (id, stream, from, to) = (self.import_id, self.stream, self.durable, &self.progress);
        keep_refusals(&mut self.connection, id, refused).await?;
        if !move_on(&mut self.connection, id, stream, from, to, is_last).await? {
            return Err(ImportWriteError::Superseded);
        }
        // The position is read after the COMMIT, in the same round trip.
        let row = sqlx::raw_sql("commit; select pg_current_wal_insert_lsn()").fetch_one(&mut self.connection).await;
        let lsn = row.and_then(|row| row.try_get(0)).map_err(DatabaseError::from_commit)?;
        (self.is_open, self.durable, self.is_complete) = (false, self.progress.last_row_number, is_last);
        Ok(Position { identity: self.identity, lsn })
    }

    /// Copies the chunk's rows, and gives those that the database refuses. The others are written all the same, unless
    /// none may be without them.
    async fn copy(&mut self, chunk: &ImportChunk) -> Result<Vec<Refusal>, ImportWriteError> {
        if chunk.is_empty() {
            return Ok(Vec::new());
        }
        let Err(error) = chunk.copy(&mut self.connection, 0..chunk.len()).await.map_err(StoreError::from) else {
            return Ok(Vec::new());
        };
        if violations_of(&error).is_none() {
            return Err(error.into());
        }
        self.is_open = false;
        sqlx::raw_sql("rollback").execute(&mut self.connection).await?;
        self.enter().await?;
        if self.all_or_nothing {
            let first = self.copy_in_parts(chunk, 0).await?.into_iter().next();
            // Without a culprit no row of the chunk is to blame alone; what came before it is rolled back.
            let (row_number, violations) = first.ok_or(error)?;
            return Err(ImportWriteError::RowRefused { row_number, violations });
        }
        let room = usize::try_from(MAX_REFUSED - self.progress.rows_refused).unwrap_or(0);
        let refused = self.copy_in_parts(chunk, room).await?;
        Ok(refused.into_iter().map(|(row_number, violations)| Refusal::new(row_number, &violations)).collect())
    }

    /// Copies rows that are refused together: they are halved until each culprit stands alone. Gives up with more
    /// culprits than `limit`.
    async fn copy_in_parts(
        &mut self,
        chunk: &ImportChunk,
        limit: usize,
    ) -> Result<Vec<(i64, Vec<Violation>)>, StoreError> {
        let mut refused = Vec::new();
        // The next part last.
        let mut parts = halves(0..chunk.len());
        while refused.len() <= limit
            && let Some(part) = parts.pop()
        {
            sqlx::raw_sql("savepoint part").execute(&mut self.connection).await?;
            let Err(error) = chunk.copy(&mut self.connection, part.clone()).await.map_err(StoreError::from) else {
                sqlx::raw_sql("release part").execute(&mut self.connection).await?;
                continue;
            };
            let Some(violations) = violations_of(&error) else { return Err(error) };
            sqlx::raw_sql("rollback to part; release part").execute(&mut self.connection).await?;
            match part.len() {
                1 => refused.push((chunk.number(part.start), violations)),
                _ => parts.extend(halves(part)),
            }
        }
        Ok(refused)
    }

    async fn enter(&mut self) -> Result<(), sqlx::Error> {
        if !self.is_open {
            sqlx::raw_sql("begin").execute(&mut self.connection).await?;
            self.is_open = true;
        }
        Ok(())
    }
}

/// The second half, then the first; one row is its own half.
fn halves(rows: Range<usize>) -> Vec<Range<usize>> {
    let middle = rows.start + rows.len() / 2;
    [middle..rows.end, rows.start..middle].into_iter().filter(|half| !half.is_empty()).collect()
}

/// What is wrong with a row, where the error is about a row and not about the database.
fn violations_of(error: &StoreError) -> Option<Vec<Violation>> {
    match error {
        StoreError::Refused(violation) => Some(vec![violation.clone()]),
        StoreError::Database(error @ DatabaseError::Storage { .. }) => {
            let sqlstate = error.sqlstate()?;
            // Bad data, a violated constraint, an exception that an operator's trigger has raised.
            let is_of_row = sqlstate.starts_with("22") || sqlstate.starts_with("23") || sqlstate == "P0001";
            is_of_row.then(Vec::new)
        }
        _ => None,
    }
}

fn count(refused: &[Refusal]) -> i64 {
    i64::try_from(refused.len()).expect("a chunk has a limited number of rows")
}
