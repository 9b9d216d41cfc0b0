//! Ranges of time.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, SubsecRound as _, TimeDelta, Utc};

use super::{
    fault::Fault,
    limits::{DEFAULT_DAYS, MAX_RANGE_DAYS},
    zone::Zone,
};

/// A half-open range: `start <= t < end`, in whole microseconds, as sales have them. Never empty.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Range {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl Range {
    /// Refuses a range that holds no moment.
    pub fn new(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<Self, Fault> {
        let (start, end) = (whole_micros(start), whole_micros(end));
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

    /// Refuses a range of more days than figures are made of.
    pub fn short_enough(self) -> Result<Self, Fault> {
        if self.end - self.start > TimeDelta::days(MAX_RANGE_DAYS) {
            Err(Fault::RangeTooLong { max: MAX_RANGE_DAYS })
        } else {
            Ok(self)
        }
    }

    /// What lies in both; `None` where nothing does.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end)).ok()
    }
}

/// Between two microseconds lies no sale: up to the next one, `t >= start` and `t < end` stay what they were.
fn whole_micros(moment: DateTime<Utc>) -> DateTime<Utc> {
    const MICROS: u16 = 6;
    let cut = moment.trunc_subsecs(MICROS);
    if cut < moment { cut + TimeDelta::microseconds(1) } else { cut }
}

/// A range that is looked at with the clocks and calendars of a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalRange {
    /// The range.
    pub range: Range,
    /// The zone.
    pub zone: Zone,
}

impl LocalRange {
    /// From the first moment of a day to the first moment of another. Refuses one that holds no moment.
    pub fn of_days(start: NaiveDate, end: NaiveDate, zone: Zone) -> Result<Self, Fault> {
        let range = Range::new(zone.start_of_day(start), zone.start_of_day(end))?;
        Ok(Self { range, zone })
    }

    /// From the same local time thirty days ago until now.
    pub fn last_thirty_days(now: DateTime<Utc>, zone: Zone) -> Self {
        let start = zone.moment(zone.local(now) - Days::new(DEFAULT_DAYS));
        Self { range: Range { start: whole_micros(start), end: whole_micros(now) }, zone }
    }

    /// The period directly before: between midnights as many local days, else as long as the range, and so where those days
    /// are ones that the zone has skipped. `None` where it would begin before the year 1, which the wire does not have.
    pub fn previous(&self) -> Option<Self> {
        let Range { start, end } = self.range;
        let before = self.as_many_days_before().filter(|before| *before < start).unwrap_or(start - (end - start));
        let range = Range::new(before, start).ok().filter(|range| range.start >= year_1())?;
        Some(Self { range, zone: self.zone.clone() })
    }

    /// Where as many local days as the range has begin before it; `None` where it is not one of whole days.
    fn as_many_days_before(&self) -> Option<DateTime<Utc>> {
        let Range { start, end } = self.range;
        let (first, behind) = (self.zone.local(start).date(), self.zone.local(end).date());
        if !self.begins_at(start, first) || !self.begins_at(end, behind) {
            return None;
        }
        let days = u64::try_from((behind - first).num_days()).ok()?;
        Some(self.zone.start_of_day(first.checked_sub_days(Days::new(days))?))
    }

    fn begins_at(&self, moment: DateTime<Utc>, date: NaiveDate) -> bool {
        self.zone.start_of_day(date) == moment
    }
}

fn year_1() -> DateTime<Utc> {
    NaiveDate::from_ymd_opt(1, 1, 1).expect("a day of the calendar").and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::{DateTime, Fault, LocalRange, NaiveDate, Range, TimeDelta, Utc, Zone};

    fn moment(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn zone(name: &str) -> Zone {
        Zone::find(name).unwrap()
    }

    fn days(start: &str, end: &str, name: &str) -> LocalRange {
        LocalRange::of_days(start.parse().unwrap(), end.parse().unwrap(), zone(name)).unwrap()
    }

    fn local(start: &str, end: &str, name: &str) -> LocalRange {
        LocalRange { range: Range::new(moment(start), moment(end)).unwrap(), zone: zone(name) }
    }

    #[test]
    fn a_range_holds_at_least_one_moment() {
        let (one, two) = (moment("2026-01-01T00:00:00Z"), moment("2026-01-02T00:00:00Z"));
        assert!(Range::new(one, two).is_ok());
        assert_eq!(Range::new(one, one), Err(Fault::EmptyRange));
        assert_eq!(Range::new(two, one), Err(Fault::EmptyRange));
        let nanos = TimeDelta::nanoseconds;
        assert_eq!(Range::new(one + nanos(1), one + nanos(999)), Err(Fault::EmptyRange), "sales have microseconds");
        let range = Range::new(one + nanos(1), one + nanos(1_001)).unwrap();
        assert_eq!((range.start(), range.end()), (one + nanos(1_000), one + nanos(2_000)));
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let march = days("2026-03-01", "2026-04-01", "Asia/Kolkata").range;
        assert_eq!(march.start(), moment("2026-02-28T18:30:00Z"));
        assert_eq!(march.end(), moment("2026-03-31T18:30:00Z"));
        let skipped = |text: &str| text.parse::<NaiveDate>().unwrap();
        let skipped = LocalRange::of_days(skipped("2011-12-30"), skipped("2011-12-31"), zone("Pacific/Apia"));
        assert_eq!(skipped, Err(Fault::EmptyRange));
    }

    #[test]
    fn thirty_days_back_clocks_show_the_same() {
        let now = moment("2026-04-10T12:00:00Z");
        let berlin = LocalRange::last_thirty_days(now, zone("Europe/Berlin")).range;
        assert_eq!((berlin.start(), berlin.end()), (moment("2026-03-11T13:00:00Z"), now));
        let utc = LocalRange::last_thirty_days(now, Zone::UTC).range;
        assert_eq!(utc.start(), moment("2026-03-11T12:00:00Z"));
    }

    #[test]
    fn the_previous_period_of_whole_days_has_as_many_of_them() {
        // A day of 23 hours lies in the range, none in the period before.
        let range = days("2026-03-29", "2026-03-31", "Europe/Berlin");
        assert_eq!(range.previous(), Some(days("2026-03-27", "2026-03-29", "Europe/Berlin")));
        // Before the skipped day: two days of the calendar, of which one was lived.
        let range = days("2011-12-31", "2012-01-02", "Pacific/Apia");
        assert_eq!(range.previous().unwrap(), days("2011-12-29", "2011-12-31", "Pacific/Apia"));
        // Where the day before was skipped: the one before that.
        let range = days("2011-12-31", "2012-01-01", "Pacific/Apia");
        assert_eq!(range.previous().unwrap(), days("2011-12-29", "2011-12-30", "Pacific/Apia"));
    }

    #[test]
    fn the_previous_period_of_anything_else_is_as_long() {
        let range = local("2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z", "Europe/Berlin");
        let before = local("2026-03-28T00:00:00Z", "2026-03-29T00:00:00Z", "Europe/Berlin");
        assert_eq!(range.previous(), Some(before));
        assert_eq!(local("0001-01-01T00:00:00Z", "0001-01-01T00:00:01Z", "UTC").previous(), None);
        assert_eq!(local("0001-01-02T00:00:00Z", "0001-01-05T00:00:00Z", "UTC").previous(), None);
    }

    #[test]
    fn a_range_is_no_longer_than_its_limit() {
        assert!(local("2020-01-01T00:00:00Z", "2030-01-08T00:00:00Z", "UTC").range.short_enough().is_ok());
        let long = local("2020-01-01T00:00:00Z", "2030-01-08T00:00:00.000001Z", "UTC").range.short_enough();
        assert_eq!(long, Err(Fault::RangeTooLong { max: 3_660 }));
    }
}
