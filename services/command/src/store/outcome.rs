//! What a command did.

use serde::{Deserialize, Serialize};
use tandem_replication::ConsistencyToken;
use uuid::Uuid;

use crate::domain::{Change, Sale};

/// What a command did. Stored as JSON with its request id, so a field that is added later needs a default.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// This is the sale now.
    Stored(Sale),
    /// These sales are there now, in the order in which they were given.
    StoredAll(Vec<Sale>),
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
    /// What a command that stores new sales has done.
    ///
    /// # Panics
    ///
    /// Where a command for one sale has stored none.
    pub fn of_new(change: &Change, mut sales: Vec<Sale>) -> Self {
        match change {
            Change::CreateAll(_) => Self::StoredAll(sales),
            Change::Create(_) | Change::Existing { .. } => Self::Stored(sales.pop().expect("one sale was stored")),
        }
    }
}
