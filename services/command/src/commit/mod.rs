//! How commands reach the database: [`Committer`] takes them, and [`heartbeat`] leaves a watermark behind them.
//!
//! Today each command has a database transaction of its own. Lanes that commit many callers' commands in one will
//! stand here, behind the same [`Committer::submit`].

mod committer;
pub mod heartbeat;

pub use committer::Committer;
