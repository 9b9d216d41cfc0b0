//! What is known of PostgreSQL's logical replication, as types: positions, tokens, watermarks,
//! publication, subscription, slots, changes and lag; and how all of it is doing.
//!
//! Functions take any connection. They read PostgreSQL's own catalogs and the watermark table, which
//! both sides have; they know nothing of sales.

mod changes;
mod drift;
mod judge;
mod lsn;
pub mod peek;
pub mod pgoutput;
mod primary_look;
mod publication;
mod replica_look;
mod slot;
mod slot_change;
pub mod slot_commands;
mod subscription;
mod system;
mod token;
mod verdict;
mod watermark;

pub use changes::{Change, ChangeReader, ReadError, What};
pub use drift::{Drift, DriftKind, PrimaryColumn, ReplicaColumn, drifts};
pub use judge::{DANGER, Judge, STUCK_AFTER};
pub use lsn::{Lsn, ParseLsnError};
pub use peek::{PeekError, peek};
pub use pgoutput::{Cell, Column, Relation, Row};
pub use primary_look::PrimaryLook;
pub use publication::{PUBLICATION, Publication, PublishedTable};
pub use replica_look::ReplicaLook;
pub use slot::{Slot, SlotPurpose, VERIFIER_PREFIX, slot_wal_limit};
pub use slot_change::{PGOUTPUT, SlotChangeError};
pub use subscription::{ApplyProgress, ConflictCount, SUBSCRIPTION, SubscribedTable, Subscription, TableState};
pub use system::{Position, SystemIdentity};
pub use token::{ConsistencyToken, ParseTokenError};
pub use verdict::{State, Verdict};
pub use watermark::Watermark;
