//! Proves that a replica holds what its primary holds, while both are in use, and names each row that differs.
//!
//! [`check`] raises *fences*. A fence is a stretch of the primary's log: it begins with a mark that the replica has to have
//! applied; then a snapshot is taken on each side; a second mark ends it. Rows that a commit between the marks touched are
//! set aside, and looked at in a later fence. Every other row must be the same in both snapshots, whatever else is written
//! meanwhile: nothing is locked but against TRUNCATE and DDL, and nobody has to pause. What was touched is read out of a
//! temporary slot on the primary, with the plugin that replicas read from (`fence`, `slot`, `touched`).
//!
//! In the first fence all rows are read, in the order in which they lie on disk, and hashed; hashes are added up, less those
//! of the rows that were set aside (`scan`). Where the sums of a table differ, its keys are cut into half-open ranges, and
//! each that differs again, down to the rows (`search`). A row that differs is looked at in a second fence before it is
//! reported (`pending`). [`Options::batch_id`] and [`Options::sample`] compare less.
//!
//! Where the replica keeps rollups, they are compared with the sales that they sum up, in one snapshot of the replica.
//!
//! A [`Schedule`] checks again and again, and tells Prometheus (`figures`).
//!
//! [`verify`] is a check that repairs what differs, if it may (`repair`).
//!
//! A check only reads the two databases, with two exceptions: marks are logical messages in the primary's log, which no replica is
//! sent, and the slot is made there.

mod bar;
mod batch;
mod catch_up;
mod check;
mod connect;
mod course;
mod differences;
mod error;
mod fence;
mod figures;
mod flags;
mod hashing;
mod key;
pub mod leftover;
#[cfg(test)]
mod mutants;
mod mutation;
mod options;
mod pace;
mod pending;
mod phase;
mod published;
mod readers;
mod repair;
mod report;
mod rollups;
mod row_hash;
mod sales;
mod sample;
mod scan;
mod schedule;
mod search;
mod slot;
mod statement;
mod sums;
mod touched;
mod verify;
mod watch;

pub use bar::Bar;
pub use check::{check, check_observed};
pub use differences::{Difference, Kind};
pub use error::{CheckError, Side, TableCopy, with_causes};
pub use flags::{Flags, Output};
pub use key::Key;
pub use options::Options;
pub use phase::Phase;
pub use repair::{Repair, TablePlan};
pub use report::{Report, TableReport, Verdict};
pub use rollups::RollupReport;
pub use schedule::Schedule;
pub use sums::Sums;
pub use verify::verify;
