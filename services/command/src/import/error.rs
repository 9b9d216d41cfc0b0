//! Why a stream ends before its import is complete.

use std::error::Error;

use crate::{
    domain::{Violation, import::SequenceError},
    store::{ImportWriteError, StoreError},
};

/// Why a stream ends before its import is complete. What is durable stays.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The first message does not say which import it is.
    #[error("the import is not named as it should be")]
    Invalid(Vec<Violation>),
    /// A second first message.
    #[error("the import was started twice in one stream")]
    StartedTwice,
    /// The rows are not numbered as they should be, or are not those that came before.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A row is wrong in itself, and no other may be written without it.
    #[error("row {row_number} is wrong")]
    RowInvalid {
        /// Which one.
        row_number: i64,
        /// What is wrong with it.
        violations: Vec<Violation>,
    },
    /// The stream ended without saying that the import does.
    #[error("the stream ended before the import did")]
    Unfinished,
    /// Nothing came, or nothing was taken, for too long.
    #[error("the stream was idle")]
    Idle,
    /// As many imports as there may be at once.
    #[error("too many imports are in progress")]
    TooMany,
    /// The service ends.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// Nobody is there to be told.
    #[error("the caller has left")]
    CallerLeft,
    /// A message can't be read, or the stream broke.
    #[error("the stream can't be read")]
    Unreadable(#[source] Box<dyn Error + Send + Sync>),
    /// A chunk was not written.
    #[error(transparent)]
    Write(#[from] ImportWriteError),
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        Self::Write(error.into())
    }
}
