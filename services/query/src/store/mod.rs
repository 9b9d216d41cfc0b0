//! The only SQL of this service.
//!
//! | file | question |
//! | --- | --- |
//! | [`sale`] | one sale, or a page of them |
//! | [`batch`] | batches, and how their replication is doing |
//! | [`changes`] | what became of sales between two horizons |
//! | [`fold`] | taking sales into the rollups |
//! | [`figures`] | figures of many sales, by step and group |
//! | [`product_labels`] | what products are called |
//! | [`replication`] | how far the replica is, and how replication is doing |
//! | [`migrate`] | schema and roles of the replica |
//! | [`subscribe`] | its subscription |
//! | [`slot`] | the slot on the primary that the subscription uses |

mod batch;
pub mod changes;
pub mod figures;
pub mod fold;
mod migrate;
mod product_labels;
mod replica;
mod replication;
mod sale;
mod slot;
mod subscribe;

pub use migrate::{MigrateError, migrate};
pub use replica::{Answered, Replica};
pub use replication::{Applied, Primary, PrimaryStatus};
pub use slot::SlotError;
pub use subscribe::{SubscribeError, Subscriber, Upstream};
