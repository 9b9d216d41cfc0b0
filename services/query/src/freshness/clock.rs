//! The primary's clock, as this process knows it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, TimeDelta, Utc};

/// Tells the time by the primary's clock; by this process's own until it has been told how far the two are apart. Clones
/// share what they were told.
#[derive(Clone, Debug, Default)]
pub struct PrimaryClock {
    microseconds_ahead: Arc<AtomicI64>,
}

impl PrimaryClock {
    /// The time there now.
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::microseconds(self.microseconds_ahead.load(Ordering::Relaxed))
    }

    /// From now on the primary's clock counts as this far ahead. Clocks that are so far apart that no time can be told
    /// change nothing.
    pub(super) fn is_ahead(&self, by: TimeDelta) {
        const A_CENTURY: TimeDelta = TimeDelta::days(36_525);
        if let Some(microseconds) = by.num_microseconds().filter(|_| by.abs() < A_CENTURY) {
            self.microseconds_ahead.store(microseconds, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PrimaryClock, TimeDelta, Utc};

    #[test]
    fn the_own_clock_counts_until_the_primarys_is_known() {
        let clock = PrimaryClock::default();
        assert!((clock.now() - Utc::now()).abs() < TimeDelta::seconds(60));
        for hours in [2, -2] {
            clock.clone().is_ahead(TimeDelta::hours(hours));
            assert!((clock.now() - Utc::now() - TimeDelta::hours(hours)).abs() < TimeDelta::seconds(60));
        }
        clock.is_ahead(TimeDelta::MAX);
        assert!((clock.now() - Utc::now() + TimeDelta::hours(2)).abs() < TimeDelta::seconds(60));
    }
}
