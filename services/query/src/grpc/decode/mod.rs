//! Requests into questions. Every wrong field is found, not only the first.

mod question;
mod reader;

pub use question::{Listing, get_revenue_series, get_summary, get_transaction, list_top_products, list_transactions};
