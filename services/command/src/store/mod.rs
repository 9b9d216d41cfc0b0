//! The only SQL of this service.
//!
//! | file | holds |
//! | --- | --- |
//! | [`execute`] | one command, one database transaction |
//! | [`request_id`] | table `tandem.request_id`: the first answer to each request id |
//! | [`sale`] | table `sales.sales_transaction` |
//! | [`item`] | table `sales.sales_item` |
//! | [`error`] | what can go wrong, and which constraint belongs to which field |

mod error;
mod execute;
mod item;
mod migrate;
mod request_id;
mod sale;

pub use error::StoreError;
pub use execute::{Outcome, Receipt, Store};
pub use migrate::{Passwords, migrate};
