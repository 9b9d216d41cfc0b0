//! Until when the caller waits. The deadline layer puts a [`Deadline`] into the extensions of each
//! request; handlers take it from there and hand it to the database.

use std::time::Duration;

use http::Extensions;
use tokio::time::Instant;

/// What work gets that no deadline layer has seen, such as a handler called by a unit test: long
/// enough for any call, and still an end.
const WITHOUT_LAYER: Duration = Duration::from_secs(10);

/// A moment after which nobody waits for the answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    when: Instant,
}

/// A deadline that the caller has set, however far away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfCaller(pub(crate) Deadline);

impl Deadline {
    /// A deadline at `when`.
    #[must_use]
    pub fn at(when: Instant) -> Self {
        Self { when }
    }

    /// A deadline this far from now, for work that no caller waits for.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self::at(Instant::now() + duration)
    }

    /// The deadline of the call whose request carries these extensions (`request.extensions()` of
    /// both `tonic::Request` and `http::Request`).
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().copied().unwrap_or_else(|| Self::after(WITHOUT_LAYER))
    }

    /// The deadline that the caller itself has set, for streams, which have no other; `None` where it set none.
    #[must_use]
    pub fn of_caller(extensions: &Extensions) -> Option<Self> {
        extensions.get::<OfCaller>().map(|caller| caller.0)
    }

    /// The moment itself.
    #[must_use]
    pub fn when(self) -> Instant {
        self.when
    }

    /// Time that is left; zero once the deadline has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.when.saturating_duration_since(Instant::now())
    }

    /// Whether the deadline has passed.
    #[must_use]
    pub fn is_past(self) -> bool {
        self.remaining().is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn remaining_time_runs_down_to_zero_and_stays_there() {
        let deadline = Deadline::after(Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(deadline.remaining(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(deadline.remaining(), Duration::ZERO);
        assert!(deadline.is_past());
    }

    #[test]
    fn the_extension_wins_over_the_fallback() {
        let mut extensions = Extensions::new();
        assert!(!Deadline::of(&extensions).is_past());
        let deadline = Deadline::at(Instant::now());
        extensions.insert(deadline);
        assert_eq!(Deadline::of(&extensions), deadline);
    }
}
