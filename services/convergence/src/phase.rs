//! What a check is at.

use std::fmt;

use chrono::NaiveDate;
use tandem_replication::Lsn;

/// What the check is at. Written with `{}`, it is a line for a progress bar.
#[derive(Debug, Clone)]
pub enum Phase {
    /// The connections are made and the catalogues read.
    Preparing,
    /// The first copy of the tables has not ended.
    WaitingForTables,
    /// The batch is still being written.
    WaitingForBatch(String),
    /// The primary's slot is made, which waits until transactions that are open have ended.
    WaitingForSlot,
    /// The replica has to apply everything before this position.
    WaitingForReplica(Lsn),
    /// All rows are read: so many blocks of so many, of both sides.
    Reading {
        /// Blocks that have been read.
        done: u64,
        /// All blocks.
        of: u64,
    },
    /// A table differs: its ranges are split.
    Searching {
        /// `schema.table`.
        table: String,
        /// Rows that differ, so far.
        found: usize,
    },
    /// So many rows have no verdict; another fence comes soon.
    Resting {
        /// How many rows.
        rows: usize,
    },
    /// Rows that were written meanwhile, or that differ, are looked at once more.
    Rechecking {
        /// How many rows.
        rows: usize,
        /// The number of this fence, the first being 1.
        fence: u32,
    },
    /// The rollups of the days from this one on are compared with the sales.
    ReadingRollups(NaiveDate),
    /// Rows of the replica are mended: so many of so many.
    Repairing {
        /// Rows that have been mended.
        done: usize,
        /// All rows of the plan.
        of: usize,
    },
}

/// Whoever wants to know what the check is at.
pub(crate) type Observe<'a> = &'a (dyn Fn(&Phase) + Sync);

impl Phase {
    /// How far the phase is, and how far it goes, where that can be told.
    #[must_use]
    pub fn progress(&self) -> Option<(u64, u64)> {
        match self {
            Self::Reading { done, of } => Some((*done, *of)),
            Self::Repairing { done, of } => Some((*done as u64, *of as u64)),
            _ => None,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preparing => f.write_str("connecting to both databases"),
            Self::WaitingForTables => f.write_str("waiting for the first copy of the tables"),
            Self::WaitingForBatch(batch_id) => write!(f, "waiting until batch {batch_id} is completed"),
            Self::WaitingForSlot => f.write_str("waiting for open transactions of the primary"),
            Self::WaitingForReplica(lsn) => write!(f, "waiting until the replica has applied {lsn}"),
            Self::Reading { .. } => f.write_str("reading both sides"),
            Self::Searching { table, found } => write!(f, "searching {table} for rows that differ ({found} found)"),
            Self::Resting { rows } => write!(f, "{rows} rows have to be looked at again"),
            Self::Rechecking { rows, fence } => write!(f, "looking at {rows} rows again (fence {fence})"),
            Self::ReadingRollups(day) => write!(f, "comparing rollups with sales, from {day} on"),
            Self::Repairing { done, of } => write!(f, "mending rows of the replica ({done} of {of})"),
        }
    }
}
