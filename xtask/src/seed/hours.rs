//! When people buy: busy hours, busy weekdays, and days that happen to be better than others.

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use fake::Fake;
use rand::Rng;

/// How busy each hour of a day is beside the others: closed at night, coffee in the morning, lunch.
const HOURS: [u64; 24] = [0, 0, 0, 0, 0, 1, 6, 22, 34, 26, 18, 22, 36, 34, 20, 16, 18, 20, 16, 10, 6, 3, 1, 0];

/// How busy each day of a week is, from Monday, in percent of an ordinary day.
const WEEKDAYS: [u64; 7] = [90, 92, 96, 100, 118, 130, 104];

/// By how much one day may differ from another for no reason, in percent of an ordinary day.
const DAY_TO_DAY: std::ops::Range<u64> = 85..116;

const MICROSECONDS_AN_HOUR: u128 = 3_600_000_000;

/// Spreads sales over days in proportion to how busy each hour is.
#[derive(Debug, Clone)]
pub(super) struct Hours {
    first: DateTime<Utc>,
    /// Weight of all hours up to and including this one, counted from `first`.
    cumulative: Vec<u64>,
}

impl Hours {
    /// The `days` whole days before `until`; at least one.
    pub(super) fn new(days: u32, until: DateTime<Utc>, rng: &mut impl Rng) -> Self {
        let days = days.max(1);
        let first = until - TimeDelta::days(i64::from(days));
        let mut total = 0;
        let mut cumulative = Vec::with_capacity(days as usize * HOURS.len());
        for day in 0..days {
            let date = first + TimeDelta::days(i64::from(day));
            let weekday = WEEKDAYS[date.weekday().num_days_from_monday() as usize];
            let chance: u64 = DAY_TO_DAY.fake_with_rng(rng);
            cumulative.extend(HOURS.iter().map(|hour| {
                total += hour * weekday * chance;
                total
            }));
        }
        Self { first, cumulative }
    }

    /// The time of the sale with this number out of `of`; numbers in order give times in order.
    /// Whole numbers throughout, so that every machine finds the same times.
    pub(super) fn time_of(&self, number: u64, of: u64, rng: &mut impl Rng) -> DateTime<Utc> {
        let total = u128::from(self.cumulative.last().copied().unwrap_or_default());
        // A share finer than any two neighbours, so that sales do not stand at even distances.
        let within: u64 = (0..1_000_000u64).fake_with_rng(rng);
        let share = u128::from(number) * 1_000_000 + u128::from(within);
        let of = u128::from(of.max(1)) * 1_000_000;
        let scaled = share * total;
        let hour = self.cumulative.partition_point(|upto| u128::from(*upto) * of <= scaled);
        let hour = hour.min(self.cumulative.len() - 1);
        let before = if hour == 0 { 0 } else { u128::from(self.cumulative[hour - 1]) };
        let weight = u128::from(self.cumulative[hour]) - before;
        let microseconds = (scaled - before * of) * MICROSECONDS_AN_HOUR / (weight * of).max(1);
        let microseconds =
            i64::try_from(microseconds).expect("a share of an hour has at most 3.6 billion microseconds");
        let hours = i64::try_from(hour).expect("there are as many hours as the vector has entries");
        self.first + TimeDelta::hours(hours) + TimeDelta::microseconds(microseconds)
    }
}
