//! How fresh the replica is, and waiting until it is fresh enough.
//!
//! One [`watcher`] asks the database, however many callers wait; [`Freshness`] is what callers ask; [`clock`] is what
//! staleness is measured by; [`watch_staleness`] tells the service's health.

mod caught_up;
mod clock;
mod healthy;
mod require;
mod watcher;

pub use clock::PrimaryClock;
pub use healthy::{HealthyStaleness, watch_staleness};
pub use require::{Freshness, FreshnessError, Observed};
pub use watcher::{Watcher, lag_bytes};
