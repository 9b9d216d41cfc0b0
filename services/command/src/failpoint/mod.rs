//! Named moments of a write. At each of them a test can hold the service, or have its process killed.
//!
//! With the feature `failpoints`, which only the end-to-end tests switch on, `gate` holds and kills. Without it, passing
//! a moment compiles to nothing.

#[cfg(feature = "failpoints")]
mod gate;

#[cfg(feature = "failpoints")]
pub use gate::Hold;

/// A moment of a write.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Failpoint {
    /// Nothing has been said to the database yet.
    BeforeBegin,
    /// Everything is written, and COMMIT is not sent. New sales alone are one statement, which commits by itself: they
    /// don't pass here.
    BeforeCommit,
    /// The database has confirmed the commit, and nobody has been told.
    AfterCommit,
}

impl Failpoint {
    /// Goes on at once, unless a test wants something else.
    pub(crate) async fn pass(self) {
        #[cfg(feature = "failpoints")]
        gate::pass(self).await;
    }
}
