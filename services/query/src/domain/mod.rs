//! What can be asked, and what is answered. Pure: no database, no wire.

mod breakdown;
mod consistency;
mod cover;
mod dimension;
mod fault;
mod figures;
mod filter;
pub mod limits;
mod page;
mod page_token;
mod product;
mod range;
mod sale;
mod segment;
mod series;
mod steps;
mod store_page;
mod watch;
mod zone;

pub use breakdown::{Breakdown, GroupFigures, by_revenue, each_hour_of_week};
pub use consistency::Consistency;
pub use cover::cover;
pub use dimension::{Dimension, Group};
pub use fault::{Fault, Violation};
pub use figures::{Cell, Figures, FiguresQuestion, Rollup, change};
pub use filter::{SalesFilter, TransactionFilter};
pub use page::{Cursor, Page, PageToken, SalesPage, sales_that_fit};
pub use product::{Label, Product, Ranking, best_products};
pub use range::{LocalRange, Range};
pub use sale::{Item, Sale};
pub use segment::{Grain, Segment};
pub use series::{Point, Series, TooManySeries, each_series, one_series};
pub use steps::{Granularity, HOURS_OF_WEEK, Step, hours_of_week, steps};
pub use store_page::{StoreCursor, StorePage, StorePageToken, StoresQuestion, page_of_stores};
pub use watch::{Change, ChangeKind, WatchPosition, WatchToken};
pub use zone::Zone;
