//! Single sales for many callers: while a statement is under way callers queue, and the next one answers all of them.

mod lookups;

pub use lookups::Lookups;
