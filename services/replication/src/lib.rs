//! What is known of PostgreSQL's logical replication, as types: positions, tokens, watermarks,
//! publication, subscription, slot, changes and lag.
//!
//! Functions take any connection. They read PostgreSQL's own catalogs and the watermark table, which
//! both sides have; they know nothing of sales.

mod changes;
mod lsn;
mod publication;
mod slot;
mod subscription;
mod system;
mod token;
mod watermark;

pub use changes::{Cell, Change, ChangeReader, Column, MalformedMessage, ReadError, Relation, Row, What};
pub use lsn::{Lsn, ParseLsnError};
pub use publication::{PUBLICATION, Publication, PublishedTable};
pub use slot::Slot;
pub use subscription::{ApplyProgress, SUBSCRIPTION, SubscribedTable, Subscription, TableState};
pub use system::{Position, SystemIdentity};
pub use token::{ConsistencyToken, ParseTokenError};
pub use watermark::Watermark;
