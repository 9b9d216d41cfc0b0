//! How replication is doing: looked at every few seconds, remembered, and told to metrics and to who asks.

mod figures;
mod observer;

pub use observer::{Observation, Observer, PrimaryAnswer};
