//! Ranges of time.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    fault::Fault,
    limits::{DEFAULT_DAYS, MAX_POINTS},
};

const MICROS_PER_DAY: i64 = 86_400_000_000;

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
        // By microseconds, as the database counts them; the end itself lies outside.
        let day = |micros: i64| micros.div_euclid(MICROS_PER_DAY);
        let touched = day(self.end.timestamp_micros() - 1) - day(self.start.timestamp_micros()) + 1;
        if touched > MAX_POINTS { Err(Fault::TooManyPoints { max: MAX_POINTS }) } else { Ok(self) }
    }
}

/// The thirty days that end now.
pub fn last_thirty_days(now: DateTime<Utc>) -> Range {
    Range { start: now - TimeDelta::days(DEFAULT_DAYS), end: now }
}

#[cfg(test)]
mod tests {
    use super::{DateTime, Fault, Range, TimeDelta, Utc};

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
        let (noon, micro) = (TimeDelta::hours(12), TimeDelta::microseconds(1));
        let points = |start, end| Range::new(start, end).unwrap().short_enough_for_days().map(drop);
        let refused = Err(Fault::TooManyPoints { max: 3_660 });
        assert_eq!(points(day(0), day(3_660)), Ok(()));
        assert_eq!(points(day(0), day(3_660) + micro), refused);
        assert_eq!(points(day(0) - micro, day(3_660)), refused);
        assert_eq!(points(day(0) + noon, day(3_659) + noon), Ok(()));
        assert_eq!(points(day(0) + noon, day(3_660) + noon), refused);
        assert_eq!(points(day(-3_660), day(0)), Ok(()));
        assert_eq!(points(day(-3_661), day(0)), refused);
    }
}
