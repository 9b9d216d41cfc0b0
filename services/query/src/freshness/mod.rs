//! How fresh the replica is, and waiting until it is fresh enough.
//!
//! One [`watcher`] asks the database, however many callers wait; [`Freshness`] is what callers ask.

mod require;
mod watcher;

pub use require::{Freshness, FreshnessError};
pub use watcher::{Watcher, lag_bytes};
