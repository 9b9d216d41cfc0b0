//! How fresh the replica is, and waiting until it is fresh enough.
//!
//! One [`watcher`] asks the database, however many callers wait; [`Freshness`] is what callers ask; [`clock`] is what
//! staleness is measured by.

mod clock;
mod require;
mod watcher;

pub use clock::PrimaryClock;
pub use require::{Freshness, FreshnessError, Observed};
pub use watcher::{Watcher, lag_bytes};
