//! What a developer does with Tandem: start and stop the pair, fill it, prove it equal, test it.
//!
//! The binary `xtask` (alias `cargo xtask`) is a thin shell around this library; the crate
//! `tandem-tests` uses [`postgres::TestPair`] to start real pairs of its own.

pub mod batches;
pub mod bench;
pub mod cargo;
mod channel;
pub mod cli;
pub mod down;
pub mod log_excerpt;
pub mod places;
pub mod postgres;
pub mod prepare;
pub mod process;
pub mod promote;
pub mod psql;
pub mod reset;
pub mod running;
pub mod seed;
pub mod service;
pub mod slots;
pub mod status;
pub mod terminal;
pub mod test;
pub mod tidy;
pub mod tools;
pub mod up;
pub mod upkeep;
pub mod verify;

pub use running::RunState;
