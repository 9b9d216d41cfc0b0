//! Takes the rows of a stream, numbers and gathers them into chunks.

use std::time::Duration;

use chrono::Utc;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::error::ImportError;
use crate::{
    domain::{
        NewSale, Violation,
        import::{Progress, Refusal, Sequence, SequenceError, Wanted},
        sale::to_microseconds,
    },
    store::ImportChunk,
};

/// Rows of a chunk: what a commit costs is nothing beside them, and they are written within a fraction of a second.
const CHUNK_ROWS: usize = 5_000;
/// Bytes of a chunk, for rows of hundreds of items.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// A chunk that does not fill is written all the same after this, so that a trickle is acknowledged within a second.
const CHUNK_AGE: Duration = Duration::from_millis(300);

/// The writer has ended, and has told the caller why.
#[derive(Debug)]
pub struct Ended;

/// What the writer is given.
pub enum Work {
    /// Rows to write.
    Chunk(ImportChunk),
    /// The last rows.
    Finish(ImportChunk),
    /// There will be no more: this is the last word to the caller.
    Fail(ImportError),
}

/// Where the rows of a stream go.
pub struct Intake {
    sequence: Sequence,
    all_or_nothing: bool,
    chunk: Option<(ImportChunk, Instant)>,
    rows_skipped: i64,
    writer: mpsc::Sender<Work>,
}

impl Intake {
    pub(super) const fn new(progress: &Progress, all_or_nothing: bool, writer: mpsc::Sender<Work>) -> Self {
        Self { sequence: Sequence::behind(progress), all_or_nothing, chunk: None, rows_skipped: 0, writer }
    }

    /// Whether rows from `first` on can follow.
    pub fn check(&self, first: i64, count: usize) -> Result<(), SequenceError> {
        self.sequence.check(first, count)
    }

    /// What is to be done with a row; nothing with one that came before, which is counted.
    pub fn wanted(&mut self, number: i64) -> Wanted {
        let wanted = self.sequence.wanted(number);
        if wanted != Wanted::Row {
            self.rows_skipped += 1;
        }
        wanted
    }

    /// Takes the content of a row that is wanted.
    pub fn content(&mut self, number: i64, content: &[u8]) -> Result<(), SequenceError> {
        self.sequence.take(number, content)
    }

    /// Takes a row whose content was taken. Waits while the writer is behind.
    pub async fn row(&mut self, number: i64, row: Result<NewSale, Vec<Violation>>) -> Result<(), ImportError> {
        let (last, hash) = self.sequence.last();
        let new = || (ImportChunk::new(last, hash, to_microseconds(Utc::now())), Instant::now());
        let (chunk, _) = self.chunk.get_or_insert_with(new);
        (chunk.last_row_number, chunk.content_hash) = (last, hash);
        match row {
            Ok(sale) => chunk.push(number, &sale)?,
            Err(violations) if self.all_or_nothing => {
                return Err(ImportError::RowInvalid { row_number: number, violations });
            }
            Err(violations) => chunk.refused.push(Refusal::new(number, &violations)),
        }
        if chunk.len() + chunk.refused.len() >= CHUNK_ROWS || chunk.bytes() >= CHUNK_BYTES {
            // When the writer has ended, the next wait for a message says so.
            self.flush().await.unwrap_or_default();
        }
        Ok(())
    }

    /// Resolves when what is gathered has waited long enough.
    pub async fn due(&self) {
        match &self.chunk {
            Some((_, since)) => sleep_until(*since + CHUNK_AGE).await,
            None => std::future::pending().await,
        }
    }

    /// Resolves when the writer has ended.
    pub async fn ended(&self) {
        self.writer.closed().await;
    }

    /// Hands over what is gathered.
    pub async fn flush(&mut self) -> Result<(), Ended> {
        match self.take() {
            Some(chunk) => self.hand_over(Work::Chunk(chunk)).await,
            None => Ok(()),
        }
    }

    /// Hands over the last rows, if these are all.
    pub async fn finish(mut self, last: i64) {
        if let Err(error) = self.sequence.check_end(last) {
            return self.fail(error.into()).await;
        }
        let (last, hash) = self.sequence.last();
        let chunk = self.take().unwrap_or_else(|| ImportChunk::new(last, hash, Utc::now()));
        self.hand_over(Work::Finish(chunk)).await.unwrap_or(());
    }

    /// Hands over what is gathered, and the caller's last word.
    pub async fn fail(mut self, error: ImportError) {
        if self.flush().await.is_ok() {
            self.hand_over(Work::Fail(error)).await.unwrap_or(());
        }
    }

    fn take(&mut self) -> Option<ImportChunk> {
        let (mut chunk, _) = self.chunk.take()?;
        chunk.rows_skipped = self.rows_skipped;
        Some(chunk)
    }

    async fn hand_over(&self, work: Work) -> Result<(), Ended> {
        self.writer.send(work).await.map_err(|_| Ended)
    }
}
