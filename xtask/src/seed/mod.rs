//! Sample data: `cargo xtask seed`.
//!
//! [`Sales`] makes sales from a seed and knows no database. [`fill`] sends them through the command service,
//! as tills do; [`import`] does so in one long stream; [`copy`] puts them into the primary directly, for large amounts; [`bulk`] loads both sides of an empty
//! pair at once, for the largest. Sales that are given a batch id are a [`batch`], which [`feed`] writes into files.

mod batch;
mod batch_command;
mod bulk;
mod catalogue;
mod command;
mod copy;
mod feed;
mod generator;
mod grpc;
mod hours;
mod import;
mod plan;
mod progress;
mod rows;
mod settings;

pub use batch::BatchReceipt;
pub use bulk::{bulk, definition};
pub use catalogue::{CATALOGUE, Product};
pub use command::{Args, Output, Via, run};
pub use generator::{Line, Sale, Sales};
pub use grpc::fill;
pub use import::{Receipt, import};
pub use plan::{DEFAULT_CURRENCY, DEFAULT_RNG_SEED, Plan, rng_seed_after};
pub use progress::Outcome;
pub(crate) use rows::{Segments, psql_commands};
pub use settings::with_settings;
