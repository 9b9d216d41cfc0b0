//! The only SQL of this service.
//!
//! | file | question |
//! | --- | --- |
//! | [`sale`] | one sale, or a page of them |
//! | [`summary`] | key figures of a range |
//! | [`series`] | the same, day by day |
//! | [`top_products`] | the products that sold best |
//! | [`replication`] | how far the replica is, and how replication is doing |
//! | [`migrate`] | schema and roles of the replica |
//! | [`subscribe`] | its subscription |
//! | [`slot`] | the slot on the primary that the subscription uses |

mod migrate;
mod replica;
mod replication;
mod sale;
mod series;
mod slot;
mod subscribe;
mod summary;
mod top_products;

pub use migrate::{MigrateError, migrate};
pub use replica::{Answered, Replica};
pub use replication::{Applied, Primary, PrimaryStatus};
pub use slot::SlotError;
pub use subscribe::{SubscribeError, Subscriber, Upstream};
