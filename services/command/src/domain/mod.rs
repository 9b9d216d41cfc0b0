//! What a valid sale is. Pure: no database, no wire.
//!
//! Values are parsed once, at the edge, into types that can't hold a bad one: [`text`], [`money`], [`identity`]. Out of
//! them stand [`line`] (one line of a sale), [`sale`] (the whole) and [`change`] (what a command does to it). [`import`]
//! numbers the rows of a long stream of sales.

pub mod change;
pub mod etag;
pub mod fault;
pub mod identity;
pub mod import;
pub mod limits;
pub mod line;
pub mod money;
pub mod sale;
pub mod text;

pub use change::{Action, Change, ChangeError, Command, LinePatch, NewSale, Request, SalePatch, check_etag};
pub use etag::Etag;
pub use fault::{Fault, Violation};
pub use line::{Expected, Line, LineParts};
pub use sale::{Header, Item, Sale, Totals};
