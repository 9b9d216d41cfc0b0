//! Asks the query service, and holds the answer against plain SQL.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive as _};
use sqlx::PgConnection;
use tandem_proto::{
    google::r#type::Money,
    sales::query::v1::{
        Dimension, GetBreakdownRequest, GetRevenueSeriesRequest, GetSummaryRequest, Granularity, GroupKey,
        ListStoresRequest, ListTopProductsRequest, ProductRanking, RevenuePoint, SalesFilter, TimeRange,
        group_key::Key, sales_query_service_client::SalesQueryServiceClient,
    },
    time::from_timestamp,
};
use tandem_tests::request::after;
use tonic::transport::Channel;

use crate::{
    oracle::{self, Moments, Row},
    plant::planted,
};

/// More stores than any question here is about.
const MOST_STORES: usize = 100;

/// Both sides of a comparison.
pub struct Asking {
    queries: SalesQueryServiceClient<Channel>,
    primary: PgConnection,
    token: String,
}

/// Revenue, sales, items sold, discount.
type Figures = (Decimal, i64, i64, Decimal);

/// A question about figures.
#[derive(Clone, Debug, Default)]
pub struct Question {
    pub range: TimeRange,
    pub filter: SalesFilter,
}

fn decimal(money: &Option<Money>) -> Decimal {
    let money = money.as_ref().unwrap();
    assert_eq!(money.currency_code, "USD");
    (Decimal::from(money.units) + Decimal::new(i64::from(money.nanos), 9)).normalize()
}

fn figures(row: &Row) -> Figures {
    (row.2.normalize(), row.3, row.4, row.5.normalize())
}

fn average(figures: &Figures) -> Decimal {
    match figures.1 {
        0 => Decimal::ZERO,
        count => (figures.0 / Decimal::from(count))
            .round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero)
            .normalize(),
    }
}

/// The fields that the messages of figures have in common, as figures.
macro_rules! of {
    ($message:expr) => {
        (decimal(&$message.revenue), $message.transactions, $message.items_sold, decimal(&$message.total_discount))
    };
}

/// A key as the SQL writes it.
fn text(group: &Option<GroupKey>) -> String {
    match group.as_ref().unwrap().key.clone().unwrap() {
        Key::StoreId(id) | Key::CashierId(id) => id.to_string(),
        Key::Category(text) | Key::PaymentMethod(text) => text,
        Key::WeekdayHour(hour) => format!("{} {}", hour.weekday, hour.hour),
    }
}

const fn unit(granularity: Granularity) -> &'static str {
    match granularity {
        Granularity::Hour => "hour",
        Granularity::Unspecified | Granularity::Day => "day",
        Granularity::Week => "week",
        Granularity::Month => "month",
    }
}

impl Asking {
    pub async fn begin() -> Self {
        let (tandem, token) = planted().await;
        Self { queries: tandem.queries(), primary: tandem.primary().await, token }
    }

    async fn all(&mut self, range: &Moments, filter: &SalesFilter) -> Figures {
        let rows = oracle::figures(&mut self.primary, range, filter, "''", None).await;
        rows.first().map(figures).unwrap_or_default()
    }

    /// What an answer says of its range is what was asked for.
    async fn check_range(&mut self, asked: &TimeRange, answered: Option<TimeRange>) -> Moments {
        let expected = oracle::moments(&mut self.primary, asked).await;
        let answered = answered.unwrap();
        let moment = |time: Option<prost_types::Timestamp>| from_timestamp(time.unwrap()).unwrap();
        assert_eq!(moment(answered.start_time), expected.start, "{asked:?}");
        assert_eq!(moment(answered.end_time), expected.end, "{asked:?}");
        assert_eq!(answered.time_zone, expected.zone);
        expected
    }

    pub async fn summary(&mut self, question: &Question) {
        let Question { range, filter } = question.clone();
        let consistency = after(&self.token);
        let asked = GetSummaryRequest { range: Some(range.clone()), filter: Some(filter.clone()), consistency };
        let answer = self.queries.get_summary(asked).await.unwrap().into_inner();
        let moments = self.check_range(&range, answer.range.clone()).await;
        let now = self.all(&moments, &filter).await;
        assert_eq!((of!(answer), decimal(&answer.average_transaction)), (now, average(&now)), "{question:?}");
        let before = oracle::previous(&mut self.primary, &moments).await;
        let previous = answer.previous.unwrap();
        let period = previous.range.clone().unwrap();
        assert_eq!(from_timestamp(period.start_time.unwrap()), Some(before.start), "{question:?}");
        assert_eq!(from_timestamp(period.end_time.unwrap()), Some(before.end), "{question:?}");
        let earlier = self.all(&before, &filter).await;
        let shown = (of!(previous), decimal(&previous.average_transaction));
        assert_eq!(shown, (earlier, average(&earlier)), "{question:?}");
        let change = |earlier: Decimal, now: Decimal| {
            (!earlier.is_zero()).then(|| ((now - earlier) / earlier).to_f64().unwrap())
        };
        let count = |earlier: i64, now: i64| change(earlier.into(), now.into());
        assert_eq!(previous.revenue_change, change(earlier.0, now.0), "{question:?}");
        assert_eq!(previous.transactions_change, count(earlier.1, now.1), "{question:?}");
        assert_eq!(previous.items_sold_change, count(earlier.2, now.2), "{question:?}");
        assert_eq!(previous.average_transaction_change, change(average(&earlier), average(&now)), "{question:?}");
        assert_eq!(previous.total_discount_change, change(earlier.3, now.3), "{question:?}");
    }

    pub async fn series(&mut self, question: &Question, granularity: Granularity, group_by: Dimension) {
        let Question { range, filter } = question.clone();
        let asked = GetRevenueSeriesRequest {
            range: Some(range.clone()),
            granularity: granularity.into(),
            filter: Some(filter.clone()),
            consistency: after(&self.token),
            group_by: group_by.into(),
        };
        let answer = self.queries.get_revenue_series(asked).await.unwrap().into_inner();
        let moments = self.check_range(&range, answer.range).await;
        let unit = unit(granularity);
        let rows = oracle::figures(&mut self.primary, &moments, &filter, oracle::key(group_by), Some(unit)).await;
        let mut expected: BTreeMap<String, BTreeMap<DateTime<Utc>, Figures>> = BTreeMap::new();
        for row in rows {
            expected.entry(row.0.clone()).or_default().insert(row.1.unwrap(), figures(&row));
        }
        let steps = oracle::steps(&mut self.primary, &moments, unit).await;
        let series: Vec<_> = if group_by == Dimension::Unspecified {
            assert!(answer.series.is_empty());
            expected.entry(String::new()).or_default();
            vec![(String::new(), answer.points)]
        } else {
            assert!(answer.points.is_empty());
            answer.series.into_iter().map(|series| (text(&series.group), series.points)).collect()
        };
        let keys: Vec<_> = series.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys.len(), expected.len(), "{keys:?} {question:?}");
        for (key, points) in series {
            let starts = self.starts(&points, &moments.zone, unit).await;
            assert_eq!(starts, steps, "{question:?} {unit}");
            let mut of_key = expected.remove(&key).unwrap_or_else(|| panic!("{key:?} {question:?}"));
            for (point, start) in points.iter().zip(starts) {
                let expected = of_key.remove(&start).unwrap_or_default();
                assert_eq!(of!(point), expected, "{key:?} {start} {unit} {question:?}");
            }
            assert!(of_key.is_empty(), "{of_key:?}");
        }
    }

    /// Where points begin. Of an hour that changing clocks have cut short, the primary gives the full hour.
    async fn starts(&mut self, points: &[RevenuePoint], zone: &str, unit: &str) -> Vec<DateTime<Utc>> {
        let starts: Vec<_> = points.iter().map(|point| from_timestamp(point.start_time.unwrap()).unwrap()).collect();
        if unit == "hour" { oracle::steps_of(&mut self.primary, &starts, zone, unit).await } else { starts }
    }

    pub async fn breakdown(&mut self, question: &Question, dimension: Dimension, limit: i32) {
        let Question { range, filter } = question.clone();
        let asked = GetBreakdownRequest {
            range: Some(range.clone()),
            filter: Some(filter.clone()),
            dimension: dimension.into(),
            limit,
            consistency: after(&self.token),
        };
        let answer = self.queries.get_breakdown(asked).await.unwrap().into_inner();
        let moments = self.check_range(&range, answer.range).await;
        let rows = oracle::figures(&mut self.primary, &moments, &filter, oracle::key(dimension), None).await;
        let mut expected: Vec<_> = rows.iter().map(|row| (row.0.clone(), figures(row))).collect();
        if dimension == Dimension::WeekdayHour {
            let by_hour: BTreeMap<_, _> = expected.into_iter().collect();
            let hours = (1..=7).flat_map(|day| (0..24).map(move |hour| format!("{day} {hour}")));
            expected = hours.map(|hour| (hour.clone(), by_hour.get(&hour).copied().unwrap_or_default())).collect();
        } else {
            let id = |key: &str| key.parse::<i32>().unwrap_or_default();
            expected.sort_by(|(a, one), (b, other)| other.0.cmp(&one.0).then(id(a).cmp(&id(b))).then(a.cmp(b)));
        }
        assert_eq!(answer.total_groups, i32::try_from(expected.len()).unwrap());
        if dimension != Dimension::WeekdayHour {
            expected.truncate(if limit == 0 { 100 } else { limit.try_into().unwrap() });
        }
        let averages: Vec<_> = answer.rows.iter().map(|row| decimal(&row.average_transaction)).collect();
        assert_eq!(averages, expected.iter().map(|(_, figures)| average(figures)).collect::<Vec<_>>(), "{question:?}");
        let rows: Vec<_> = answer.rows.iter().map(|row| (text(&row.group), of!(row))).collect();
        assert_eq!(rows, expected, "{dimension:?} {question:?}");
    }

    pub async fn top_products(&mut self, question: &Question, ranking: ProductRanking, limit: i32) {
        let Question { range, filter } = question.clone();
        let asked = ListTopProductsRequest {
            range: Some(range.clone()),
            filter: Some(filter.clone()),
            ranking: ranking.into(),
            limit,
            consistency: after(&self.token),
        };
        let answer = self.queries.list_top_products(asked).await.unwrap().into_inner();
        let moments = self.check_range(&range, answer.range).await;
        let mut rows = oracle::figures(&mut self.primary, &moments, &filter, "i.product_code", None).await;
        let by_quantity = ranking == ProductRanking::Quantity;
        rows.sort_by(|one, other| {
            let better = if by_quantity { other.4.cmp(&one.4) } else { other.2.cmp(&one.2) };
            better.then(one.0.cmp(&other.0))
        });
        rows.truncate(if limit == 0 { 10 } else { limit.try_into().unwrap() });
        let mut expected = Vec::new();
        for row in &rows {
            let (name, category) = oracle::label(&mut self.primary, &row.0).await;
            expected.push((row.0.clone(), name, category, row.2.normalize(), row.3, row.4));
        }
        let products = answer.products.into_iter();
        let products = products
            .map(|p| (p.product_code, p.product_name, p.category, decimal(&p.revenue), p.transactions, p.quantity));
        assert_eq!(products.collect::<Vec<_>>(), expected, "{question:?}");
    }

    pub async fn stores(&mut self, question: &Question, page_size: i32) {
        let Question { range, filter } = question.clone();
        let (mut stores, mut page_token) = (Vec::new(), None);
        let mut moments = None;
        while page_token.as_deref() != Some("") {
            let asked = ListStoresRequest {
                page_size,
                page_token: page_token.unwrap_or_default(),
                range: Some(range.clone()),
                filter: Some(filter.clone()),
                consistency: after(&self.token),
            };
            let answer = self.queries.list_stores(asked).await.unwrap().into_inner();
            moments = Some(self.check_range(&range, answer.range).await);
            assert!(answer.stores.len() <= page_size.try_into().unwrap());
            for store in answer.stores {
                let figures = of!(store);
                assert_eq!(decimal(&store.average_transaction), average(&figures));
                stores.push((store.store_id, figures));
            }
            assert!(stores.len() <= MOST_STORES, "pages lead on for ever: {stores:?}");
            page_token = Some(answer.next_page_token);
        }
        let key = oracle::key(Dimension::Store);
        let rows = oracle::figures(&mut self.primary, &moments.unwrap(), &filter, key, None).await;
        let mut expected: Vec<_> = rows.iter().map(|row| (row.0.parse::<i32>().unwrap(), figures(row))).collect();
        expected.sort_by_key(|(store_id, _)| *store_id);
        assert_eq!(stores, expected, "{question:?}");
    }
}
