//! The only SQL of this service.
//!
//! | file | holds |
//! | --- | --- |
//! | [`connection`] | the connection of a lane, which outlives its batches |
//! | [`batch`] | many callers' commands, one database transaction |
//! | [`rehearsal`] | a command that is only validated |
//! | [`request_id`] | table `tandem.request_id`: the first answer to each request id |
//! | [`sale`] | table `sales.sales_transaction` |
//! | [`item`] | table `sales.sales_item` |
//! | [`error`] | what can go wrong, and which constraint belongs to which field |

mod batch;
mod connection;
mod create;
mod error;
mod item;
mod migrate;
mod outcome;
mod rehearsal;
mod request_id;
mod sale;
mod watermark;

pub use batch::write;
pub use connection::LaneConnection;
pub use error::StoreError;
pub use migrate::{Passwords, migrate};
pub use outcome::{Outcome, Receipt};
pub use rehearsal::rehearse;
pub use request_id::remove_older;
pub use watermark::{remove_abandoned, write_watermark};
