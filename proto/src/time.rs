//! Moments on the wire and as `chrono` has them.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;

/// A moment as the wire has it.
pub fn to_timestamp(time: DateTime<Utc>) -> Timestamp {
    // A leap second is a second of a thousand million nanoseconds and more to chrono, and none to the wire.
    let nanos = time.timestamp_subsec_nanos().min(999_999_999);
    Timestamp { seconds: time.timestamp(), nanos: i32::try_from(nanos).expect("a second of nanoseconds fits") }
}

/// The moment that a timestamp names; `None` for nanos out of range and for years that chrono does not have.
pub fn from_timestamp(timestamp: Timestamp) -> Option<DateTime<Utc>> {
    let nanos = u32::try_from(timestamp.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    DateTime::from_timestamp(timestamp.seconds, nanos)
}
