//! What a publication sends, read out of a slot by SQL: changes in the order of their commits, as text.
//!
//! The reader's slot is temporary: it goes with its session, however that ends, and nobody else reads from it.

mod message;
mod reader;

pub use message::{Cell, Column, MalformedMessage, Relation, Row};
pub use reader::{Change, ChangeReader, ReadError, What};
