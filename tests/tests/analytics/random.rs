//! Random questions: the same ones in every run.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tandem_proto::sales::query::v1::{Dimension, ProductRanking, SalesFilter, TimeRange};

use crate::{
    GRANULARITIES, GROUPS,
    ask::{Asking, Question},
    dates,
    plant::{CATEGORIES, METHODS, STORES, ZONES},
    times,
};

pub struct Questions(ChaCha8Rng);

impl Questions {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Asks any one question.
    pub async fn ask_one(&mut self, asking: &mut Asking) {
        let (range, days) = self.range();
        let question = Question { range, filter: self.filter() };
        let (granularity, group) = (self.any(&GRANULARITIES), self.any(&GROUPS));
        let limit = self.0.random_range(0..5);
        match self.0.random_range(0..6) {
            0 => asking.summary(&question).await,
            // Hours of more than a year are too many.
            1 | 2 => asking.series(&question, if days > 300 { GRANULARITIES[1] } else { granularity }, group).await,
            3 => asking.breakdown(&question, self.dimension(days), limit).await,
            4 => {
                let ranking =
                    self.any(&[ProductRanking::Unspecified, ProductRanking::Revenue, ProductRanking::Quantity]);
                asking.top_products(&question, ranking, limit).await;
            }
            _ => asking.stores(&question, limit + 1).await,
        }
    }

    fn any<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.0.random_range(0..values.len())]
    }

    fn dimension(&mut self, days: i64) -> Dimension {
        match self.any(&GROUPS) {
            Dimension::Unspecified if days > 300 => Dimension::Store,
            Dimension::Unspecified => Dimension::WeekdayHour,
            dimension => dimension,
        }
    }

    /// A range near something that happens in its zone, and about how many days it has.
    fn range(&mut self) -> (TimeRange, i64) {
        let (zone, _) = self.any(&ZONES);
        let (_, moments) = self.any(&ZONES);
        let moment: DateTime<Utc> = self.any(moments).parse().unwrap();
        let days = self.any(&[0, 1, 3, 30, 35, 100, 500]);
        if self.0.random_bool(0.3) {
            let start: NaiveDate = moment.date_naive() - TimeDelta::days(self.0.random_range(0..=days));
            return (dates(start, start + TimeDelta::days(days + 2), zone), days);
        }
        // Where rollups begin and end, where local clocks do, and anywhere.
        let unit = self.any(&[1, 900_000_000, 1_800_000_000, 3_600_000_000, 86_400_000_000]);
        let mut whole = |random: std::ops::Range<i64>| self.0.random_range(random) / unit * unit;
        let start = moment - TimeDelta::microseconds(whole(0..(days + 1) * 86_400_000_000));
        let long = whole(0..(days + 1) * 86_400_000_000).max(unit);
        (times(start, start + TimeDelta::microseconds(long), zone), days)
    }

    fn filter(&mut self) -> SalesFilter {
        let mut filter = SalesFilter::default();
        if self.0.random_bool(0.3) {
            filter.store_ids = (1..=STORES).filter(|_| self.0.random_bool(0.5)).collect();
        }
        if self.0.random_bool(0.3) {
            filter.payment_methods = self.some(&METHODS);
        }
        if self.0.random_bool(0.4) {
            filter.categories = self.some(&CATEGORIES);
        }
        filter
    }

    fn some(&mut self, texts: &[&str]) -> Vec<String> {
        texts.iter().filter(|_| self.0.random_bool(0.5)).map(|text| (*text).to_owned()).collect()
    }
}
