//! The command service: stores sales in the primary database.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`settings`] | flags and environment |
//! | [`grpc`] | the contract: one RPC = decode, submit, encode |
//! | [`domain`] | what a valid sale is, and what a command does to it |
//! | [`commit`] | how commands reach the database, and the heartbeat behind them |
//! | [`import`] | how long streams of sales do |
//! | [`store`] | the only SQL |
//! | [`failpoint`] | moments of a write at which tests hold or kill the service |
//!
//! Data flows one way: `grpc` → `domain` → `commit`, `import` → `store`.

pub mod commit;
pub mod domain;
pub mod failpoint;
pub mod grpc;
pub mod import;
mod serve;
pub mod settings;
pub mod store;

pub use serve::{ServeError, serve};
