//! Ranges of time.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    fault::Fault,
    limits::{DEFAULT_DAYS, MAX_POINTS},
};

/// A half-open range: `start <= t < end`. Never empty.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl Range {
    /// Refuses a range that holds no moment.
    pub fn new(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<Self, Fault> {
        if start < end { Ok(Self { start, end }) } else { Err(Fault::EmptyRange) }
    }

    /// The first moment in the range.
    pub const fn start(self) -> DateTime<Utc> {
        self.start
    }

    /// The first moment after the range.
    pub const fn end(self) -> DateTime<Utc> {
        self.end
    }

    /// Refuses a range of more days than a series may have points.
    pub fn short_enough_for_days(self) -> Result<Self, Fault> {
        // A range that begins and ends within a day touches two days more than it is long.
        if (self.end - self.start).num_days() + 2 > MAX_POINTS {
            Err(Fault::TooManyPoints { max: MAX_POINTS })
        } else {
            Ok(self)
        }
    }
}

/// The thirty days that end now.
pub fn last_thirty_days(now: DateTime<Utc>) -> Range {
    Range { start: now - TimeDelta::days(DEFAULT_DAYS), end: now }
}

#[cfg(test)]
mod tests {
    use super::{DateTime, Fault, Range, Utc};

    fn day(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(day * 86_400, 0).unwrap()
    }

    #[test]
    fn a_range_holds_at_least_one_moment() {
        assert!(Range::new(day(1), day(2)).is_ok());
        assert_eq!(Range::new(day(1), day(1)), Err(Fault::EmptyRange));
        assert_eq!(Range::new(day(2), day(1)), Err(Fault::EmptyRange));
    }

    #[test]
    fn a_series_has_no_more_points_than_its_limit() {
        assert!(Range::new(day(0), day(3_658)).unwrap().short_enough_for_days().is_ok());
        let long = Range::new(day(0), day(3_659)).unwrap();
        assert_eq!(long.short_enough_for_days(), Err(Fault::TooManyPoints { max: 3_660 }));
    }
}
