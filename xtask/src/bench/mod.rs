//! Measurements: `cargo xtask bench`.
//!
//! A figure counts only as a ratio between two things that were measured in turn in one run, and only where the answers
//! were right: rows are counted, totals compared, both databases proved equal, or the run is void.
//!
//! Each subcommand has a room of its own ([`write`], [`seed`], [`read`], [`replication`], [`verify`]); what several need stands here: the load generator
//! ([`load`]), the peers (pgbench: [`pgbench`]; psql), the databases and the service ([`Bed`]), and what a run tells ([`report`]).

mod answers;
mod batch_sizes;
mod bed;
mod command;
mod comparison;
mod conclusion;
mod disk;
mod latencies;
pub mod load;
mod loader;
mod machine;
mod measure;
pub mod pgbench;
mod plot;
mod programs;
pub mod read;
mod replica_lag;
pub mod replication;
pub mod report;
pub mod seed;
mod service_process;
mod shop;
mod side;
mod statistics;
mod usage;
pub mod verify;
pub mod write;

pub use answers::Void;
pub use bed::Bed;
pub use command::{Args, run};
pub use latencies::Latencies;
pub use programs::Profile;
