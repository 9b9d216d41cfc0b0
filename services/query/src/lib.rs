//! The query service: answers from a replica that logical replication feeds.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`settings`] | flags and environment |
//! | [`grpc`] | the contract: one RPC = decode, wait until fresh enough, ask, encode |
//! | [`domain`] | what can be asked, and what is answered |
//! | [`freshness`] | how fresh the replica is, and waiting until it is fresh enough |
//! | [`lookup`] | single sales for many callers by one statement |
//! | [`live`] | watchers: changes as they are applied, figures whenever they change |
//! | [`observation`] | how replication is doing: looked at, remembered, and told to metrics and to who asks |
//! | [`rollup`] | figures that are summed up already: folding, rebuilding |
//! | [`store`] | the only SQL |

pub mod domain;
pub mod freshness;
pub mod grpc;
pub mod live;
pub mod lookup;
pub mod observation;
pub mod rollup;
mod serve;
pub mod settings;
pub mod store;

pub use serve::{ServeError, serve};
