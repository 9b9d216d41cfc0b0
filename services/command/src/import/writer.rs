//! Writes chunk after chunk, while the next is gathered.

use std::{sync::Arc, time::Duration};

use metrics::{counter, histogram};
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
    shutdown::Shutdown,
    status::chain_of,
};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, timeout},
};

use super::{
    error::ImportError,
    importer::{Event, EventSender, Place, tell},
    intake::Work,
};
use crate::{
    domain::import::Refusal,
    store::{ImportBatch, ImportChunk, ImportConnection, ImportReceipt, ImportWriteError, StoreError},
};

/// A chunk with many culprits takes many statements, each of which has a limit. A server that has not answered for so
/// long all in all is frozen or cut off.
const CHUNK_LIMIT: Duration = Duration::from_secs(300);

/// How long the caller of a stream that has failed waits for its batch to say so: a database that is away must not take the
/// last word away too.
const FAILING_LIMIT: Duration = Duration::from_secs(2);

/// Writes the chunks of one stream, over the connection of its import.
pub struct Writer {
    pub connection: ImportConnection,
    /// Where the batch is told of a failure.
    pub database: Database,
    pub waiting: mpsc::Receiver<Work>,
    pub events: EventSender,
    pub committed: Arc<Notify>,
    pub shutdown: Shutdown,
    pub place: Place,
    pub idle: Duration,
}

impl Writer {
    /// Writes until the import is complete, or something ends it; the caller hears what.
    pub async fn run(mut self) {
        let end = self.write_all().await;
        if let Err(ImportError::Write(ImportWriteError::Store(error))) = &end {
            // The caller's trailers have no room for a cause.
            tracing::warn!(error = chain_of(error), "an import ended early");
        }
        let Self { connection, database, waiting, events, place, idle, .. } = self;
        let batch = connection.batch();
        // First of all, so that a caller who hears the last word can come again.
        drop((connection, place));
        if let Err(error) = &end {
            fail(batch, &database, error).await;
        }
        // A caller that has left needs no last word, and one that takes none gets none.
        let said = timeout(idle, events.send(end.map(Event::Completed))).await;
        tracing::debug!(said = said.is_ok_and(|said| said.is_ok()), "an import's stream ended");
        drop(waiting);
    }

    async fn write_all(&mut self) -> Result<ImportReceipt, ImportError> {
        loop {
            let work = tokio::select! {
                biased;
                () = self.place.superseded() => return Err(ImportWriteError::Superseded.into()),
                () = self.shutdown.triggered() => return Err(ImportError::ShuttingDown),
                () = self.events.closed() => return Err(ImportError::CallerLeft),
                work = self.waiting.recv() => work,
            };
            match work {
                Some(Work::Chunk(chunk)) => self.write(chunk, false).await?,
                Some(Work::Finish(chunk)) => {
                    self.write(chunk, true).await?;
                    return Ok(self.connection.receipt().await?);
                }
                Some(Work::Fail(error)) => return Err(error),
                // The task that takes the rows has panicked.
                None => return Err(StoreError::from(DatabaseError::WorkPanicked).into()),
            }
        }
    }

    /// Writes a chunk, and tells the caller what became of it once it is durable.
    async fn write(&mut self, chunk: ImportChunk, is_last: bool) -> Result<(), ImportError> {
        let (begun, rows_skipped) = (Instant::now(), chunk.rows_skipped);
        histogram!("tandem_import_chunk_rows").record(chunk.len() as f64);
        let written = timeout(CHUNK_LIMIT, self.connection.write(chunk, is_last)).await;
        let silent = |_| Err(DatabaseError::OutcomeUnknown { source: None }.into());
        let written = written.unwrap_or_else(silent)?;
        histogram!("tandem_import_chunk_seconds").record(begun.elapsed());
        let Some(position) = written.position else { return Ok(()) };
        self.committed.notify_one();
        counter!("tandem_import_rows_refused_total").increment(count(&written.refused));
        for refusal in written.refused {
            self.tell(Event::Refused(refusal)).await?;
        }
        let (progress, token) = (self.connection.progress().clone(), position.token());
        self.tell(Event::Acknowledged { progress, token, rows_skipped }).await
    }

    async fn tell(&self, event: Event) -> Result<(), ImportError> {
        tell(&self.events, self.idle, event).await
    }
}

/// Lets a batch say why it is not complete.
pub async fn fail(batch: ImportBatch, database: &Database, error: &ImportError) {
    let failed = batch.fail(database, error.to_string(), Deadline::after(FAILING_LIMIT)).await;
    if let Err(error) = failed {
        tracing::warn!(error = chain_of(&error), "the batch of an import that ended early goes on saying IN_PROGRESS");
    }
}

fn count(refused: &[Refusal]) -> u64 {
    refused.len() as u64
}
