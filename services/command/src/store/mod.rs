//! The only SQL of this service.
//!
//! | file | holds |
//! | --- | --- |
//! | [`connection`] | the connection of a lane, which outlives its batches |
//! | [`batch`] | many callers' commands, one database transaction |
//! | [`create`] | new sales of many commands in one statement |
//! | [`culprit`] | which sale of a batch the database refuses |
//! | [`rehearsal`] | a command that is only validated |
//! | [`request_id`] | table `tandem.request_id`: the first answer to each request id |
//! | [`sale`] | table `sales.sales_transaction` |
//! | [`item`] | table `sales.sales_item` |
//! | [`import`] | tables `tandem.import`, `tandem.import_refusal`: how far each import has come |
//! | [`import_connection`] | the connection of an import: writes its chunks |
//! | [`import_batch`] | tables `tandem.batch_control`, `tandem.batch_part`: each import is a batch |
//! | [`batch_removal`] | the same tables: batches that are old enough |
//! | [`import_rows`] | rows of an import as binary COPY takes them |
//! | [`error`] | what can go wrong, and which constraint belongs to which field |

mod batch;
mod batch_removal;
mod connection;
mod create;
mod culprit;
mod error;
mod import;
mod import_batch;
mod import_connection;
mod import_rows;
mod item;
mod migrate;
mod outcome;
mod rehearsal;
mod request_id;
mod sale;
mod watermark;

pub use batch::{name_culprit, write};
pub use batch_removal::remove_older_batches;
pub use connection::LaneConnection;
pub use error::{BatchError, StoreError};
pub use import::remove_older_imports;
pub use import_batch::ImportBatch;
pub use import_connection::{ImportConnection, ImportReceipt, ImportWriteError, ImportWritten};
pub use import_rows::{ImportChunk, Room};
pub use migrate::{Passwords, migrate};
pub use outcome::{Outcome, Receipt};
pub use rehearsal::rehearse;
pub use request_id::remove_older;
pub use watermark::{remove_abandoned, write_watermark};
