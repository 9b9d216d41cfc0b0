//! Rows of the replica that stand where the primary's stream wants to put rows.

mod backlog;
mod find;
mod set_aside;

use serde::Serialize;
use serde_json::Value;
use tandem_replication::Lsn;

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

/// Which version of the row was looked at.
#[derive(Clone, Debug, Default, PartialEq)]
struct Version {
    schema: String,
    name: String,
    ctid: String,
    xmin: String,
}
