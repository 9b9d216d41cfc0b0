//! Imports: long streams of sales, written in chunks beside the lanes.
//!
//! | file | holds |
//! | --- | --- |
//! | [`importer`] | admits streams: so many at once, one for each import |
//! | [`intake`] | takes the rows of a stream, numbers and gathers them into chunks |
//! | [`writer`] | writes chunk after chunk, while the next is gathered |
//! | [`error`] | why a stream ends before its import is complete |
//!
//! Rows flow one way, through bounded queues: caller → intake → writer → database; events flow back to the caller.

mod error;
mod importer;
mod intake;
mod writer;

pub use error::ImportError;
pub use importer::{Event, EventSender, ImportSettings, Importer, Start};
pub use intake::{Ended, Intake};
