//! Proves that a replica holds what its primary holds, while both are in use.
//!
//! [`check`] compares every published table by row count, by the sum of each numeric column and by
//! an additive hash over whole rows. It goes in rounds: a fingerprint of the primary, a wait until
//! the replica has applied everything that fingerprint saw, a fingerprint of the replica, and one of
//! the primary again. A table that equals either fingerprint of the primary is equal; one that
//! differs from a primary that did not change between the two is different, and is reported when two
//! rounds in a row say so; everything else goes to the next round. The rounds are needed because
//! even an idle pair is never still: heartbeats write the watermark table every few seconds.
//!
//! Where the replica keeps rollups, they are compared with the sales that they sum up, in one snapshot of
//! the replica.
//!
//! The two databases are only read, with one exception: while the wait lasts, the primary may be
//! given a logical message that is in no publication (`pg_logical_emit_message`), because an idle
//! primary has no reason to tell the replica how far its log reaches.

mod catch_up;
mod check;
mod connect;
mod error;
mod fingerprint;
mod hashing;
mod published;
mod report;
mod rollups;
mod rounds;

pub use check::{Options, Phase, check, check_observed};
pub use error::{CheckError, Side};
pub use fingerprint::Fingerprint;
pub use report::{Report, TableReport, Verdict};
pub use rollups::RollupReport;
