//! What to compare, and how.

use std::time::Duration;

use tandem_chassis::shutdown::Shutdown;

/// Between fences. Long enough that rows which were written a moment ago are at rest, short enough that nobody waits.
const INTERVAL: Duration = Duration::from_millis(250);

/// Rows of a range that are compared one by one. A range of more rows is split: to hash a row costs a third of what it
/// costs to send one.
const RANGE_SIZE: u32 = 1_000;

/// Times as long as a reader reads it rests, where somebody writes: on two cores that those use up, resting twice as long left
/// them 0.82 of their rate, which is too little.
const REST: f64 = 4.0;

/// Differences that are listed of each table. Who has more of them needs another remedy than a list.
const DIFFERENCES: usize = 1_000;

/// What to compare, for how long, and at which cost.
#[derive(Debug, Clone)]
pub struct Options {
    /// After this the check gives up, whatever it is doing.
    pub timeout: Duration,
    /// The pause between two fences.
    pub interval: Duration,
    /// The publication on the primary.
    pub publication: String,
    /// The subscription on the replica.
    pub subscription: String,
    /// Whether the replica's rollups are compared with its sales.
    pub rollups: bool,
    /// How many rows a range may have whose rows are compared one by one.
    pub range_size: u32,
    /// How many connections read each side at once.
    pub parallel: u8,
    /// Where somebody writes meanwhile, each reader rests so many times as long as it has read.
    pub rest: f64,
    /// How many differences of each table are listed; a search that finds more stops, and says so.
    pub differences: usize,
    /// Compares only the sales of this batch, with their items, and no other table.
    pub batch_id: Option<String>,
    /// Compares about so many rows of each table instead of all.
    pub sample: Option<u64>,
    /// Ends the check when it is triggered, in [`CheckError::Stopped`](crate::CheckError::Stopped), with nothing left behind.
    pub stop: Shutdown,
}

impl Default for Options {
    /// One minute, the names that the migrations give, everything, and one connection to each side.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            interval: INTERVAL,
            publication: tandem_replication::PUBLICATION.to_owned(),
            subscription: tandem_replication::SUBSCRIPTION.to_owned(),
            rollups: true,
            range_size: RANGE_SIZE,
            parallel: 1,
            rest: REST,
            differences: DIFFERENCES,
            batch_id: None,
            sample: None,
            stop: Shutdown::new(),
        }
    }
}
