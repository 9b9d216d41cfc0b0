//! Rows of the replica that stand where the primary's stream wants to put rows.

mod backlog;
mod find;
mod set_aside;

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use tandem_replication::Lsn;

use crate::error::UpkeepError;
use crate::sides::{Addresses, Sides};

pub(crate) use find::find;
pub(crate) use set_aside::set_aside;

/// A row of the replica that the apply worker can't get past.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conflict {
    /// `schema.table`.
    pub table: String,
    /// The primary key of the row that stands in the way.
    pub key: Value,
    /// The unique index that lets only one of the two in.
    pub index: String,
    /// The row that stands in the way.
    pub on_replica: Value,
    /// The row that the primary sends, its values as text; a value that was not sent is absent.
    pub arriving: Value,
    /// Where the record of the commit begins that brings it.
    pub commit_lsn: Lsn,
    #[serde(skip)]
    version: Version,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, key, index, commit_lsn, .. } = self;
        write!(f, "{table} {key}: {index} lets in no row of the commit at {commit_lsn} beside it")
    }
}

/// The rows of the replica that apply can't get past, as [`heal`](crate::heal) finds them. Changes nothing, also while somebody
/// heals; of a long backlog the beginning is looked through.
///
/// The primary's role must be one that replicates: what waits is read from a copy of the subscription's slot.
///
/// # Errors
///
/// [`UpkeepError`] says what to do.
pub async fn conflicts(addresses: &Addresses) -> Result<Vec<Conflict>, UpkeepError> {
    find(&mut Sides::to_look(addresses).await?, &|_| ()).await
}

/// Which version of the row was looked at.
#[derive(Clone, Debug, Default, PartialEq)]
struct Version {
    schema: String,
    name: String,
    ctid: String,
    xmin: String,
}
