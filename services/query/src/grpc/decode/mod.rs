//! Requests into questions. Every wrong field is found, not only the first.

mod analytics;
mod batch;
mod carried;
mod filter;
mod question;
mod range;
mod reader;

pub use analytics::{
    Breakdown, Series, Stores, Summary, get_breakdown, get_revenue_series, get_summary, list_stores, list_top_products,
};
pub use batch::{get_batch, list_batches, wait_for_batch};
pub use carried::{Carried, call};
pub use question::{Listing, get_transaction, list_transactions};
pub use reader::Reader;
