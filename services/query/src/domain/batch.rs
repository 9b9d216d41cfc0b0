//! Batches, and pages of them.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use tandem_replication::Position;

use super::{
    fault::Fault,
    limits::MAX_BATCH_ID,
    page_token::{QuestionHasher, open, seal},
};

/// Time, length of the id, and the id, filled up.
const BODY: usize = 8 + 1 + MAX_BATCH_ID;

/// Names a batch: letters, digits and `. _ : -`, the first one a letter or a digit.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct BatchId(String);

impl BatchId {
    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BatchId {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let of_id = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        match text {
            "" => Err(Fault::Missing),
            _ if begins && text.len() <= MAX_BATCH_ID && text.chars().all(of_id) => Ok(Self(text.to_owned())),
            _ => Err(Fault::NotABatchId),
        }
    }
}

/// What its writer says of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BatchStatus {
    /// It is being written.
    InProgress,
    /// All of it is committed.
    Completed,
    /// It ended before it was complete.
    Failed,
}

/// How the replication of a batch is doing, the worst last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum BatchHealth {
    /// All of it can be read here.
    Ready,
    /// It is on its way.
    Replicating,
    /// For longer than it should be.
    Slow,
    /// For so long that somebody should look.
    Stuck,
}

/// What a batch does to one table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BatchTable {
    /// schema.table.
    pub name: String,
    /// What its writer says.
    pub status: BatchStatus,
    /// How its replication is doing.
    pub health: BatchHealth,
    /// By the primary's clock.
    pub started_at: DateTime<Utc>,
    /// The same; `None` while it is being written.
    pub ended_at: Option<DateTime<Utc>>,
    /// Behind all that was written; `None` while it is being written.
    pub position: Option<Position>,
    /// Rows written, once they were counted.
    pub row_count: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A batch, as a replica knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// Its id.
    pub batch_id: String,
    /// When its first table was begun.
    pub started_at: DateTime<Utc>,
    /// By name; at least one.
    pub tables: Vec<BatchTable>,
}

impl Batch {
    /// Failed where one of its tables is, else in progress where one is.
    pub fn status(&self) -> BatchStatus {
        let any = |status| self.tables.iter().any(|table| table.status == status);
        if any(BatchStatus::Failed) {
            BatchStatus::Failed
        } else if any(BatchStatus::InProgress) {
            BatchStatus::InProgress
        } else {
            BatchStatus::Completed
        }
    }

    /// The worst of its tables.
    pub fn health(&self) -> BatchHealth {
        self.tables.iter().map(|table| table.health).max().unwrap_or(BatchHealth::Replicating)
    }

    /// Whether all that it was to write can be read here.
    pub fn is_ready(&self) -> bool {
        self.status() == BatchStatus::Completed && self.health() == BatchHealth::Ready
    }

    /// When its last table ended; `None` while one is being written.
    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        let ended: Option<Vec<_>> = self.tables.iter().map(|table| table.ended_at).collect();
        ended?.into_iter().max()
    }

    /// Behind all of its tables; `None` while one is being written.
    pub fn position(&self) -> Option<Position> {
        let positions: Option<Vec<_>> = self.tables.iter().map(|table| table.position).collect();
        positions?.into_iter().max_by_key(|position| (position.identity.timeline, position.lsn))
    }

    /// Why it failed.
    pub fn error(&self) -> Option<&str> {
        self.tables.iter().find_map(|table| table.error.as_deref())
    }
}

/// Behind which batch a page begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BatchCursor {
    /// When the batch began.
    pub started_at: DateTime<Utc>,
    /// Its id: batches of one moment are in the order of their ids.
    pub batch_id: String,
}

/// A page of batches that is asked for.
#[derive(Clone, Debug)]
pub struct BatchPage {
    /// Batches on it at most.
    pub size: i32,
    /// Behind which one it begins; `None` for the first.
    pub after: Option<BatchCursor>,
}

impl BatchCursor {
    /// Behind this batch.
    pub fn behind(batch: &Batch) -> Self {
        Self { started_at: batch.started_at, batch_id: batch.batch_id.clone() }
    }
}

impl fmt::Display for BatchCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.batch_id.as_bytes();
        let mut body = Vec::with_capacity(BODY);
        body.extend(self.started_at.timestamp_micros().to_be_bytes());
        body.push(u8::try_from(id.len()).expect("the length of an id is limited"));
        body.extend(id);
        body.resize(BODY, 0);
        f.write_str(&seal(QuestionHasher::new("batches").finish(), &body))
    }
}

impl FromStr for BatchCursor {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (question, body) = open::<BODY>(text)?;
        if question != QuestionHasher::new("batches").finish() {
            return Err(Fault::OtherQuestion);
        }
        let cursor = || {
            let (time, rest) = body.split_first_chunk::<8>()?;
            let (length, id) = rest.split_first()?;
            let started_at = DateTime::from_timestamp_micros(i64::from_be_bytes(*time))?;
            let batch_id = String::from_utf8(id.get(..usize::from(*length))?.to_vec()).ok()?;
            Some(Self { started_at, batch_id })
        };
        cursor().ok_or(Fault::NotAPageToken)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Batch, BatchCursor, BatchHealth, BatchId, BatchStatus, BatchTable, DateTime, Fault, MAX_BATCH_ID, Position,
    };
    use crate::domain::{StorePageToken, limits::MAX_PAGE_TOKEN};
    use tandem_replication::{Lsn, SystemIdentity};

    fn table(status: BatchStatus, health: BatchHealth, end: Option<i64>) -> BatchTable {
        let identity = SystemIdentity { system_identifier: 7, timeline: 1 };
        BatchTable {
            name: "sales.sales_item".to_owned(),
            status,
            health,
            started_at: DateTime::UNIX_EPOCH,
            ended_at: end.and_then(|end| DateTime::from_timestamp(end, 0)),
            position: end.map(|end| Position { identity, lsn: Lsn::new(end.unsigned_abs()) }),
            row_count: None,
            error: (status == BatchStatus::Failed).then(|| "why".to_owned()),
        }
    }

    fn batch(tables: Vec<BatchTable>) -> Batch {
        Batch { batch_id: "a".to_owned(), started_at: DateTime::UNIX_EPOCH, tables }
    }

    #[test]
    fn a_batch_is_what_the_worst_of_its_tables_is() {
        use BatchHealth::{Ready, Replicating, Slow, Stuck};
        use BatchStatus::{Completed, Failed, InProgress};
        let done = batch(vec![table(Completed, Ready, Some(5)), table(Completed, Ready, Some(9))]);
        assert!(done.is_ready() && done.error().is_none());
        assert_eq!(done.position().map(|position| position.lsn), Some(Lsn::new(9)));
        assert_eq!(done.ended_at(), DateTime::from_timestamp(9, 0));
        let half = batch(vec![table(Completed, Ready, Some(5)), table(InProgress, Slow, None)]);
        assert_eq!((half.status(), half.health()), (InProgress, Slow));
        assert_eq!((half.position(), half.ended_at()), (None, None));
        let failed = batch(vec![table(InProgress, Replicating, None), table(Failed, Ready, Some(1))]);
        assert_eq!((failed.status(), failed.error()), (Failed, Some("why")));
        for late in [Replicating, Slow, Stuck] {
            let late = batch(vec![table(Completed, late, Some(5)), table(Completed, Ready, Some(5))]);
            assert!(!late.is_ready(), "{late:?}");
        }
        assert!(!batch(vec![table(Failed, Ready, Some(5))]).is_ready());
    }

    #[test]
    fn an_id_is_what_the_primary_would_take() {
        for id in ["a", "0199a1b2-6f00-7000-8000-000000000001", "nightly:2026-11-25_1.csv", &"a".repeat(100)] {
            assert_eq!(id.parse::<BatchId>().unwrap().as_str(), id);
        }
        for id in ["-a", ".", "a b", "a/b", "\u{e4}", "a\0", &"a".repeat(101)] {
            assert_eq!(id.parse::<BatchId>(), Err(Fault::NotABatchId), "{id:?}");
        }
        assert_eq!("".parse::<BatchId>(), Err(Fault::Missing));
    }

    #[test]
    fn a_token_gives_its_cursor_back_and_that_of_another_listing_does_not() {
        for length in [1, MAX_BATCH_ID] {
            let batch_id = "x".repeat(length);
            let cursor =
                BatchCursor { started_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(), batch_id };
            let text = cursor.to_string();
            assert!(text.len() <= MAX_PAGE_TOKEN);
            assert_eq!(text.parse::<BatchCursor>(), Ok(cursor));
            assert_eq!(text.parse::<StorePageToken>(), Err(Fault::NotAPageToken));
            assert_eq!(text[1..].parse::<BatchCursor>(), Err(Fault::NotAPageToken));
        }
    }
}
