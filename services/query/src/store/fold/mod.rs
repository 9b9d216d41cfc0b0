//! Taking sales into the rollups.
//!
//! How it stays exact is written where the tables are made: `migrations/20261121000100_rollups.sql`.

mod folding;
mod generation;
mod horizon;
mod step;

pub use folding::Folding;
pub use generation::current_generation;
pub use horizon::{Backlog, Horizon, MAX_CHANGED};
pub use step::{Step, step};
