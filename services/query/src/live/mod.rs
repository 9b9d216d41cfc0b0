//! Watchers: changes as they are applied, figures whenever they change.
//!
//! | file | what |
//! | --- | --- |
//! | [`batches`] | batches that callers wait for |
//! | [`hub`] | the one reader of changes, for all who have been told everything so far |
//! | [`step`] | reading what changed between two horizons, page by page |
//! | [`watcher`] | one caller's stream: what it has missed, then what the hub reads |
//! | [`summaries`] | figures that several callers watch |
//!
//! What is told is the difference between two states of the replica, at two horizons (`store::changes`). A horizon is no
//! point in a log, so a stream can be taken up at any of them, in any process, also in the middle of a step.

mod batches;
mod hub;
mod step;
mod summaries;
mod watcher;

use std::sync::Arc;

use tandem_chassis::database::DatabaseError;

pub use batches::{BatchWait, BatchWaits, WaitEnd};
pub use hub::Hub;
pub use summaries::{Period, Summaries, SummaryQuestion, SummedUp};
pub use watcher::{Told, Watchers, Watching};

use crate::{domain::WatchPosition, store::changes::Present};

/// Why a stream ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WatchEnd {
    /// What changed since the token is no longer known.
    #[error("what has changed since this resume token is no longer known; read anew, and begin without a token")]
    Expired,
    /// Horizons of another replica, or of one that was restored, say nothing here.
    #[error("the resume token is of another replica; read anew there, and begin without a token")]
    AnotherReplica,
    /// All sales were removed at once, which is no change of a sale.
    #[error("all sales were removed at once; read anew, and begin without a token")]
    Truncated,
    /// The caller did not read.
    #[error("the stream was read too slowly; resume with the last token")]
    TooSlow,
    /// There are too many watchers, or too many questions that are watched.
    #[error("too many streams are being watched; try again later, or elsewhere")]
    TooMany,
    /// The caller's own deadline has come.
    #[error("the deadline has passed; resume with the last token")]
    DeadlineExceeded,
    /// The service ends.
    #[error("the server is shutting down; resume with the last token")]
    ShuttingDown,
    /// The replica failed for longer than a moment.
    #[error("the replica can't be read")]
    Database(#[from] Arc<DatabaseError>),
    /// A task of this service panicked.
    #[error("internal error")]
    Panicked,
}

impl WatchEnd {
    /// For metrics.
    const fn name(&self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::AnotherReplica => "another_replica",
            Self::Truncated => "truncated",
            Self::TooSlow => "too_slow",
            Self::TooMany => "too_many",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::ShuttingDown => "shutting_down",
            Self::Database(_) => "database",
            Self::Panicked => "panicked",
        }
    }
}

/// Whether what changed since a position can still be told.
fn can_be_told(position: WatchPosition, present: &Present) -> Result<(), WatchEnd> {
    if position.from_xid <= present.truncated_xid {
        return Err(WatchEnd::Truncated);
    }
    if position.from_xid < present.kept_xid {
        return Err(WatchEnd::Expired);
    }
    // A token of the future is of a past that a restore has undone.
    if position.until_xid > present.xid { Err(WatchEnd::AnotherReplica) } else { Ok(()) }
}
