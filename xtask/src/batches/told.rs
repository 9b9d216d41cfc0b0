//! A batch as it is printed.

use std::fmt::{self, Display, Write as _};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use tandem_proto::sales::query::v1::{Batch, BatchHealth, BatchStatus};
use tandem_proto::time::from_timestamp;

use crate::terminal::{counted, grouped};

/// A batch.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ToldBatch {
    pub batch_id: String,
    /// `IN_PROGRESS`, `COMPLETED` or `FAILED`.
    pub status: String,
    /// `READY`, `REPLICATING`, `SLOW` or `STUCK`.
    pub health: String,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    /// Behind all that it has written; none while it is being written.
    pub lsn: Option<String>,
    /// The same for reads.
    pub consistency_token: Option<String>,
    pub tables: Vec<ToldTable>,
    pub error: Option<String>,
}

/// What a batch does to one table.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ToldTable {
    /// schema.table.
    pub table: String,
    pub status: String,
    pub health: String,
    /// None while nobody has counted them.
    pub rows: Option<u64>,
}

impl From<Batch> for ToldBatch {
    fn from(batch: Batch) -> Self {
        let (status, health) = (status(batch.status()), health(batch.health()));
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let tables = batch.tables.into_iter().map(|table| ToldTable {
            status: self::status(table.status()),
            health: self::health(table.health()),
            rows: table.row_count.map(i64::unsigned_abs),
            table: table.name,
        });
        Self {
            status,
            health,
            tables: tables.collect(),
            started_at: batch.started_at.and_then(from_timestamp),
            ended_at: batch.ended_at.and_then(from_timestamp),
            lsn: some(batch.lsn),
            consistency_token: some(batch.consistency_token),
            error: some(batch.error),
            batch_id: batch.batch_id,
        }
    }
}

fn status(status: BatchStatus) -> String {
    status.as_str_name().trim_start_matches("BATCH_STATUS_").to_owned()
}

fn health(health: BatchHealth) -> String {
    health.as_str_name().trim_start_matches("BATCH_HEALTH_").to_owned()
}

/// To the second, as the sort of text that can be given to other programs.
fn moment(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

impl Display for ToldBatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "batch {}: {}, {}", self.batch_id, self.status, self.health)?;
        if let Some(error) = &self.error {
            write!(out, "\nerror    {error}")?;
        }
        write!(out, "\nstarted  {}", moment(self.started_at))?;
        if self.ended_at.is_some() {
            write!(out, "\nended    {}", moment(self.ended_at))?;
        }
        if let Some(lsn) = &self.lsn {
            write!(out, "\ndurable  at {lsn}")?;
        }
        if let Some(token) = &self.consistency_token {
            write!(out, "\ntoken    {token}")?;
        }
        for ToldTable { table, status, health, rows } in &self.tables {
            let rows = rows.map_or_else(String::new, |rows| format!(", {}", counted(rows, "row")));
            write!(out, "\n{table}: {status}, {health}{rows}")?;
        }
        Ok(())
    }
}

/// A line for each batch, below a heading.
pub(super) fn table(batches: &[ToldBatch]) -> String {
    let id = "batch";
    let width = batches.iter().map(|batch| batch.batch_id.len()).max().unwrap_or_default().max(id.len());
    let mut text =
        format!("{id:<width$}  {:<11}  {:<11}  {:>12}  {:<20}  ended", "status", "health", "rows", "started");
    for batch in batches {
        let rows: Option<u64> = batch.tables.iter().map(|table| table.rows).sum();
        let rows = rows.map_or_else(|| "-".to_owned(), grouped);
        let (started, ended) = (moment(batch.started_at), moment(batch.ended_at));
        let ToldBatch { batch_id, status, health, .. } = batch;
        // Writing to a String can't fail.
        let _infallible =
            write!(text, "\n{batch_id:<width$}  {status:<11}  {health:<11}  {rows:>12}  {started:<20}  {ended}");
    }
    text
}
