//! What a command did.

use serde::{Deserialize, Serialize};
use tandem_replication::ConsistencyToken;
use uuid::Uuid;

use crate::domain::{Etag, Sale};

/// What a command did. Stored as JSON with its request id, so a field that is added later needs a default.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// This is the sale now.
    Stored(Sale),
    /// The sale is gone.
    Deleted {
        /// Which one.
        transaction_id: Uuid,
        /// The version it had last.
        version: i64,
    },
}

/// The answer to a command.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// What was done.
    pub outcome: Outcome,
    /// Whether it was done by an earlier call with the same request id.
    pub replayed: bool,
    /// Covers the write; `None` where nothing was written, since the command was only to be validated.
    pub token: Option<ConsistencyToken>,
}

impl Outcome {
    /// Names the version that the command left, or deleted.
    pub const fn etag(&self) -> Etag {
        match self {
            Self::Stored(sale) => sale.etag(),
            Self::Deleted { version, .. } => Etag::of_version(*version),
        }
    }
}
