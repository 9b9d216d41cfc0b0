//! What can be asked, and what is answered. Pure: no database, no wire.

mod consistency;
mod fault;
mod figures;
mod filter;
pub mod limits;
mod page;
mod range;
mod sale;

pub use consistency::Consistency;
pub use fault::{Fault, Violation};
pub use figures::{Point, Product, Ranking, Summary};
pub use filter::{SalesFilter, TransactionFilter};
pub use page::{Cursor, Page, PageToken, SalesPage, sales_that_fit};
pub use range::{Range, last_thirty_days};
pub use sale::{Item, Sale};
