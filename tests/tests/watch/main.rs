//! Live streams: every change once, whatever happens to the stream.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

mod changes;
mod limits;
mod load;
mod resumed;
mod stream;
mod summary;
