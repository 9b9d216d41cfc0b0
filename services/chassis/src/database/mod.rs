//! PostgreSQL transactions that survive a cancelled call.
//!
//! A call can be cancelled at any await. A `BEGIN` that was cancelled half-way would leave a pooled
//! connection inside a transaction nobody knows of, and a `COMMIT` that was cancelled would leave
//! the caller's neighbours guessing. So [`Database::write`] and [`Database::read`] run all of
//! acquire, BEGIN, the work and COMMIT in a tokio task of their own: from BEGIN on, dropping the
//! caller's future drops only the wait for the answer. Before BEGIN it ends the task, so that
//! callers who have left do not queue for connections. A connection returns to the pool only after
//! a COMMIT or ROLLBACK that the server confirmed, or a statement by itself ([`Database::ask`]) that it answered; in
//! every other case it is closed.

mod error;
mod pool;
#[cfg(test)]
mod stand_in;
mod transaction;

pub use error::DatabaseError;
#[cfg(test)]
pub(crate) use pool::CLOSE_LIMIT;
pub use pool::Database;
pub(crate) use pool::connect_options;
