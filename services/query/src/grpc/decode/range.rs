//! Ranges of time: by times, by dates, or none.

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use prost_types::Timestamp;
use tandem_proto::{sales::query::v1::TimeRange, time::from_timestamp};

use super::reader::Reader;
use crate::domain::{Fault, LocalRange, Range, Zone};

/// The length of a date in its only form.
const DATE_LENGTH: usize = 10;
/// Years that questions are about: a year less than the wire's timestamps have, since local time may be a day ahead.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9998;

impl Reader {
    /// The range; `Some(None)` where neither times nor dates were given.
    pub fn range(&mut self, range: TimeRange) -> Option<Option<LocalRange>> {
        let zone = self.zone(&range.time_zone);
        let times = range.start_time.is_some() || range.end_time.is_some();
        let dates = !range.start_date.is_empty() || !range.end_date.is_empty();
        match (times, dates) {
            (false, false) => zone.and(Some(None)),
            (true, true) => self.check("range", Err(Fault::TimesAndDates)),
            (true, false) => {
                let start = self.moment("range.start_time", range.start_time);
                let end = self.moment("range.end_time", range.end_time);
                let range = self.check("range.end_time", Range::new(start?, end?));
                Some(Some(LocalRange { range: range?, zone: zone? }))
            }
            (false, true) => {
                let start = self.date("range.start_date", &range.start_date);
                let end = self.date("range.end_date", &range.end_date);
                self.check("range.end_date", LocalRange::of_days(start?, end?, zone?)).map(Some)
            }
        }
    }

    /// The range that figures are made of, the last thirty days where none was given, and whether none was.
    pub fn range_of_figures(&mut self, range: Option<TimeRange>) -> Option<(LocalRange, bool)> {
        let range = range.unwrap_or_default();
        let name = range.time_zone.clone();
        let (range, until_now) = match self.range(range)? {
            Some(range) => (range, false),
            None => (LocalRange::last_thirty_days(Utc::now(), self.zone(&name)?), true),
        };
        self.check("range", range.range.short_enough())?;
        Some((range, until_now))
    }

    fn zone(&mut self, name: &str) -> Option<Zone> {
        let zone = if name.is_empty() { Ok(Zone::UTC) } else { Zone::find(name) };
        self.check("range.time_zone", zone)
    }

    fn moment(&mut self, field: &str, time: Option<Timestamp>) -> Option<DateTime<Utc>> {
        let time = time.ok_or(Fault::Missing);
        self.check(field, time.and_then(|time| moment(time).ok_or(Fault::MalformedTime)))
    }

    fn date(&mut self, field: &str, text: &str) -> Option<NaiveDate> {
        if text.is_empty() {
            return self.check(field, Err(Fault::Missing));
        }
        self.check(field, date(text).ok_or(Fault::NotADate))
    }
}

fn moment(time: Timestamp) -> Option<DateTime<Utc>> {
    from_timestamp(time).filter(|time| YEARS.contains(&time.year()))
}

fn date(text: &str) -> Option<NaiveDate> {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let in_form = text.len() == DATE_LENGTH && text.split('-').all(digits);
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| in_form)?;
    YEARS.contains(&date.year()).then_some(date)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_days_of_the_calendar_in_one_form() {
        for text in ["2026-03-01", "2024-02-29", "0001-01-01", "9998-12-31"] {
            assert_eq!(date(text).unwrap().to_string(), text);
        }
        let wrong = [
            "2026-3-1",
            "2026-02-29",
            "2026-13-01",
            "0000-01-01",
            "9999-01-01",
            "20260301",
            "+026-03-01",
            "01-03-2026",
            "2026-03-01T00:00:00Z",
            " 026-03-01",
            "2026-03-٣",
        ];
        for text in wrong {
            assert_eq!(date(text), None, "{text}");
        }
    }
}
