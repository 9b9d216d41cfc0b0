//! Figures are those of the sales: every answer equals plain SQL over the base tables, in every zone, for every filter.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

mod ask;
mod oracle;
mod plant;
mod random;

use ask::{Asking, Question};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use plant::{CATEGORIES, METHODS, ZONES};
use tandem_proto::{
    sales::query::v1::{Dimension, Granularity, ProductRanking, SalesFilter, TimeRange},
    time::to_timestamp,
};

const GRANULARITIES: [Granularity; 4] = [Granularity::Hour, Granularity::Day, Granularity::Week, Granularity::Month];
/// What a series can be grouped by.
const GROUPS: [Dimension; 5] =
    [Dimension::Unspecified, Dimension::Store, Dimension::Cashier, Dimension::Category, Dimension::PaymentMethod];

/// A range by times.
pub fn times(start: DateTime<Utc>, end: DateTime<Utc>, zone: &str) -> TimeRange {
    let (start_time, end_time) = (Some(to_timestamp(start)), Some(to_timestamp(end)));
    TimeRange { start_time, end_time, time_zone: zone.to_owned(), ..TimeRange::default() }
}

/// A range by dates.
pub fn dates(start: NaiveDate, end: NaiveDate, zone: &str) -> TimeRange {
    let (start_date, end_date) = (start.to_string(), end.to_string());
    TimeRange { start_date, end_date, time_zone: zone.to_owned(), ..TimeRange::default() }
}

fn of_all(range: TimeRange) -> Question {
    Question { range, filter: SalesFilter::default() }
}

/// Moments of a zone at which something happens to its days or clocks.
fn moments() -> impl Iterator<Item = (&'static str, DateTime<Utc>)> {
    ZONES.into_iter().flat_map(|(zone, moments)| moments.iter().map(move |moment| (zone, moment.parse().unwrap())))
}

#[tokio::test]
async fn series_are_exact_around_midnights_and_changes_of_clocks() {
    let mut asking = Asking::begin().await;
    for (zone, moment) in moments() {
        for (before, after) in [(26, 26), (1, 30), (0, 1), (24 * 40, 24 * 35)] {
            let range = times(moment - TimeDelta::hours(before), moment + TimeDelta::hours(after), zone);
            for granularity in GRANULARITIES {
                asking.series(&of_all(range.clone()), granularity, Dimension::Unspecified).await;
            }
        }
    }
}

#[tokio::test]
async fn days_of_the_calendar_are_those_of_the_zone() {
    let mut asking = Asking::begin().await;
    for (zone, moment) in moments() {
        let date = moment.date_naive();
        for (before, after) in [(1, 2), (2, 1), (40, 40), (0, 2)] {
            let range = dates(date - TimeDelta::days(before), date + TimeDelta::days(after), zone);
            asking.summary(&of_all(range.clone())).await;
            asking.series(&of_all(range), Granularity::Day, Dimension::Unspecified).await;
        }
    }
}

#[tokio::test]
async fn hours_of_the_week_are_those_of_local_clocks() {
    let mut asking = Asking::begin().await;
    for (zone, moment) in moments() {
        for days in [1, 20, 180] {
            let range = times(moment - TimeDelta::days(days), moment + TimeDelta::days(days), zone);
            asking.breakdown(&of_all(range), Dimension::WeekdayHour, 0).await;
        }
    }
}

/// Filters by none, one and several values of each kind, and of kinds together.
fn filters() -> Vec<SalesFilter> {
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let stores = [vec![], vec![2], vec![1, 4, 99]];
    let methods = [vec![], strings(&METHODS[..1]), strings(&METHODS[1..])];
    let categories = [vec![], strings(&CATEGORIES[..1]), strings(&CATEGORIES[..3])];
    let mut filters = Vec::new();
    for store_ids in &stores {
        for payment_methods in &methods {
            for categories in &categories {
                filters.push(SalesFilter {
                    store_ids: store_ids.clone(),
                    payment_methods: payment_methods.clone(),
                    categories: categories.clone(),
                });
            }
        }
    }
    filters
}

#[tokio::test]
async fn every_filter_goes_with_every_grouping() {
    let mut asking = Asking::begin().await;
    let date = |text: &str| text.parse::<NaiveDate>().unwrap();
    for filter in filters() {
        let range = dates(date("2018-03-01"), date("2018-04-03"), "Asia/Kathmandu");
        let question = Question { range, filter };
        asking.summary(&question).await;
        for dimension in GROUPS {
            asking.series(&question, Granularity::Week, dimension).await;
            if dimension != Dimension::Unspecified {
                asking.breakdown(&question, dimension, 0).await;
                asking.breakdown(&question, dimension, 2).await;
            }
        }
        asking.breakdown(&question, Dimension::WeekdayHour, 0).await;
        for ranking in [ProductRanking::Revenue, ProductRanking::Quantity] {
            asking.top_products(&question, ranking, 0).await;
            asking.top_products(&question, ranking, 2).await;
        }
        asking.stores(&question, 2).await;
        asking.stores(&question, 100).await;
    }
}

#[tokio::test]
async fn random_questions_are_answered_as_plain_sql_answers_them() {
    let mut asking = Asking::begin().await;
    let mut random = random::Questions::new(1_618);
    for _ in 0..300 {
        random.ask_one(&mut asking).await;
    }
}
