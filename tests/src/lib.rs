//! End-to-end tests: both services on a real primary/replica pair.
//!
//! A test binary shares one [`Tandem`] among its tests ([`Tandem::shared`]); a test that stops or breaks something
//! starts its own ([`Tandem::start`]). Databases and directories are gone when the process is, however it ends.

pub mod callers;
pub mod database;
pub mod health;
pub mod import;
pub mod machine;
pub mod program;
pub mod prometheus;
pub mod request;
mod tandem;
pub mod wire;

pub use tandem::{Tandem, channel};
