//! How commands reach the database.
//!
//! | file | holds |
//! | --- | --- |
//! | [`committer`] | takes commands and hands each to a lane |
//! | [`lane`] | a queue and a connection: commits all that waits in one transaction |
//! | [`split`] | what becomes of a batch that the database refuses |
//! | [`heartbeat`] | leaves a watermark behind the commits |
//! | [`retention`] | removes what is old enough: request ids, imports, batches |

mod committer;
mod heartbeat;
mod lane;
mod retention;
mod split;

pub use committer::{Committer, LaneSettings};
pub use heartbeat::Heartbeat;
pub use retention::{Kept, Retention};
