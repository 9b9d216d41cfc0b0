//! How fresh an answer must be.

use std::time::Duration;

use tandem_replication::Position;

/// What a caller asks of an answer's freshness.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Consistency {
    /// Whatever the replica has.
    #[default]
    Any,
    /// Everything before this position of the primary.
    AtLeast(Position),
    /// Everything that was committed longer ago than this, which is longer than zero.
    MaxStaleness(Duration),
    /// Everything that was committed before the question.
    Strong,
}
