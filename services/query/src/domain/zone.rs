//! Local time. The zones are those of the database that is part of the program: an answer does not depend on the machine
//! that gives it.

use std::sync::LazyLock;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use jiff::{
    Timestamp, civil,
    tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase},
};

use super::{fault::Fault, limits::MAX_ZONE_NAME};

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A zone of the IANA time zone database.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone with this name, which may be of any case.
    pub fn find(name: &str) -> Result<Self, Fault> {
        if name.len() > MAX_ZONE_NAME {
            return Err(Fault::UnknownTimeZone);
        }
        match DATABASE.get(name) {
            // The crate knows a zone that stands for an unknown one.
            Ok(zone) if !zone.is_unknown() => Ok(Self(zone)),
            _ => Err(Fault::UnknownTimeZone),
        }
    }

    /// As the database writes it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// What local clocks and calendars show.
    pub fn local(&self, moment: DateTime<Utc>) -> NaiveDateTime {
        moment.naive_utc() + self.offset(moment)
    }

    /// The first moment of a day: its midnight, the first of two, or the moment at which clocks have jumped over it.
    pub fn start_of_day(&self, date: NaiveDate) -> DateTime<Utc> {
        self.moment(date.and_time(NaiveTime::MIN))
    }

    /// The first moment at which local clocks show this, or the moment at which they have jumped over it.
    pub fn moment(&self, local: NaiveDateTime) -> DateTime<Utc> {
        let at = |offset: Offset| (local - seconds(offset)).and_utc();
        match self.0.to_ambiguous_timestamp(civil(local)).offset() {
            AmbiguousOffset::Unambiguous { offset } => at(offset),
            AmbiguousOffset::Fold { before, .. } => at(before),
            AmbiguousOffset::Gap { before, after } => self.next_change(at(after)).unwrap_or_else(|| at(before)),
        }
    }

    /// How far local clocks are ahead of UTC.
    pub fn offset(&self, moment: DateTime<Utc>) -> TimeDelta {
        seconds(self.0.to_offset(timestamp(moment)))
    }

    /// When local clocks are changed next after this moment; `None` where they never are.
    pub fn next_change(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let before = self.0.to_offset(timestamp(moment));
        let mut changes = self.0.following(timestamp(moment));
        // The database also knows when a zone merely changed its name.
        let change = changes.find(|change| self.0.to_offset(change.timestamp()) != before)?;
        DateTime::from_timestamp_micros(change.timestamp().as_microsecond())
    }

    /// When local clocks were changed last, at this moment or before it; `None` where they never were.
    pub fn last_change(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let now = self.0.to_offset(timestamp(moment));
        let changes = self.0.preceding(timestamp(moment + TimeDelta::microseconds(1)));
        let before = |time: Timestamp| Timestamp::from_microsecond(time.as_microsecond() - 1).ok();
        let change = changes
            .map(|change| change.timestamp())
            .find(|&time| before(time).is_some_and(|before| self.0.to_offset(before) != now))?;
        DateTime::from_timestamp_micros(change.as_microsecond())
    }
}

fn seconds(offset: Offset) -> TimeDelta {
    TimeDelta::seconds(offset.seconds().into())
}

fn timestamp(moment: DateTime<Utc>) -> Timestamp {
    Timestamp::from_microsecond(moment.timestamp_micros()).expect("questions are about years 1 to 9998")
}

fn civil(local: NaiveDateTime) -> civil::DateTime {
    let (date, since_midnight) = (local.date(), local.time() - NaiveTime::MIN);
    let small = |number: u32| i8::try_from(number).expect("months and days have two digits");
    let year = i16::try_from(date.year()).expect("questions are about years 1 to 9998");
    let midnight = civil::date(year, small(date.month()), small(date.day())).at(0, 0, 0, 0);
    midnight + jiff::SignedDuration::from_micros(since_midnight.num_microseconds().expect("a day of microseconds fits"))
}

#[cfg(test)]
mod tests {
    use super::{DateTime, Fault, NaiveDate, TimeDelta, Utc, Zone};

    fn start_of_day(zone: &str, date: &str) -> String {
        let date: NaiveDate = date.parse().unwrap();
        Zone::find(zone).unwrap().start_of_day(date).to_rfc3339()
    }

    fn moment(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn zones_are_found_by_the_names_of_the_iana_database_and_by_no_others() {
        for name in ["UTC", "Asia/Kolkata", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
            assert_eq!(Zone::find(name).unwrap().name(), name);
        }
        assert_eq!(Zone::find("asia/kolkata").unwrap().name(), "Asia/Kolkata");
        let long = "A".repeat(10_000);
        for name in ["", "Asia/Atlantis", "+05:30", "../etc/passwd", "Etc/Unknown", "UTC\0", &long] {
            assert_eq!(Zone::find(name), Err(Fault::UnknownTimeZone), "{name:?}");
        }
    }

    #[test]
    fn a_day_begins_at_its_midnight_or_where_clocks_jumped_over_it() {
        assert_eq!(start_of_day("Asia/Kolkata", "2026-03-01"), "2026-02-28T18:30:00+00:00");
        assert_eq!(start_of_day("Asia/Kathmandu", "2026-03-01"), "2026-02-28T18:15:00+00:00");
        // Midnight was skipped: the day began at one o'clock.
        assert_eq!(start_of_day("America/Sao_Paulo", "2018-11-04"), "2018-11-04T03:00:00+00:00");
        // Clocks went back from midnight to eleven: there is one midnight.
        assert_eq!(start_of_day("America/Sao_Paulo", "2018-02-18"), "2018-02-18T03:00:00+00:00");
        // Clocks went back from one o'clock to midnight: there are two.
        assert_eq!(start_of_day("America/Havana", "2018-11-04"), "2018-11-04T04:00:00+00:00");
        // The jump from 23:30 to 00:30 ended in the day.
        assert_eq!(start_of_day("America/Toronto", "1919-03-31"), "1919-03-31T04:30:00+00:00");
        // The 30th was skipped: it begins, and ends, where the 31st begins.
        assert_eq!(start_of_day("Pacific/Apia", "2011-12-30"), "2011-12-30T10:00:00+00:00");
        assert_eq!(start_of_day("Pacific/Apia", "2011-12-31"), "2011-12-30T10:00:00+00:00");
    }

    #[test]
    fn changes_of_clocks_are_found_on_both_sides() {
        let berlin = Zone::find("Europe/Berlin").unwrap();
        let spring = moment("2026-03-29T01:00:00Z");
        let micro = TimeDelta::microseconds(1);
        assert_eq!(berlin.next_change(spring - micro), Some(spring));
        assert_eq!(berlin.next_change(spring), Some(moment("2026-10-25T01:00:00Z")));
        assert_eq!(berlin.last_change(spring), Some(spring));
        assert_eq!(berlin.last_change(spring - micro), Some(moment("2025-10-26T01:00:00Z")));
        assert_eq!(Zone::UTC.next_change(spring), None);
        assert_eq!(Zone::UTC.last_change(spring), None);
    }
}
