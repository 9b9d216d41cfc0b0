//! The questions, asked of the query service, and the shape in which all sides' answers are compared.

use std::num::NonZeroU32;

use anyhow::Context;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::FromRow;
use tandem_proto::google::r#type::Money;
use tandem_proto::money::Currency;
use tandem_proto::sales::query::v1::group_key::Key;
use tandem_proto::sales::query::v1::sales_query_service_client::SalesQueryServiceClient;
use tandem_proto::sales::query::v1::{
    Dimension, GetBreakdownRequest, GetRevenueSeriesRequest, GetSummaryRequest, Granularity, GroupKey,
    ListTopProductsRequest, RevenuePoint, TimeRange, TopProduct,
};
use tandem_proto::time::to_timestamp;
use tonic::transport::{Channel, Endpoint};

use super::super::answers::Void;

/// How many products are asked for.
pub const TOP_PRODUCTS: i32 = 10;

/// One question over the days that are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// GetSummary, which also tells of the period before.
    Summary,
    /// GetRevenueSeries by days.
    Daily,
    /// ListTopProducts by revenue.
    TopProducts,
    /// GetBreakdown by store.
    ByStore,
    /// GetRevenueSeries by hours, a series for each store.
    HourlyByStore,
}

impl Question {
    /// Those of Q1.
    pub const OF_A_DASHBOARD: [Question; 4] =
        [Question::Summary, Question::Daily, Question::TopProducts, Question::ByStore];

    /// For people and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Question::Summary => "summary",
            Question::Daily => "daily_series",
            Question::TopProducts => "top_products",
            Question::ByStore => "by_store",
            Question::HourlyByStore => "hourly_by_store",
        }
    }
}

/// Figures of one group or step, as every side tells them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, FromRow)]
pub struct Figure {
    /// Which: seconds since 1970, a store, a product with its name and category.
    pub key: String,
    /// Without trailing zeros.
    pub revenue: Decimal,
    /// How many sales.
    pub transactions: i64,
    /// How many pieces.
    pub items_sold: i64,
    /// Without trailing zeros; 0 of products, whose answers do not tell it.
    pub total_discount: Decimal,
}

/// An answer: figures that are not all zero, in the order of their keys.
pub type Answer = Vec<Figure>;

/// Brings an answer into the shape in which answers are compared.
pub fn in_order(mut answer: Answer) -> Answer {
    answer.retain(|figure| figure.transactions != 0);
    for figure in &mut answer {
        figure.revenue = figure.revenue.normalize();
        figure.total_discount = figure.total_discount.normalize();
    }
    answer.sort();
    answer
}

/// One caller of the query service.
#[derive(Debug, Clone)]
pub struct Caller {
    client: SalesQueryServiceClient<Channel>,
    currency: Currency,
    range: TimeRange,
}

/// A response as it came.
#[derive(Debug)]
pub struct Response(Vec<Told>);

/// Key, revenue, sales, pieces, discount.
type Told = (String, Option<Money>, i64, i64, Option<Money>);

impl Caller {
    /// Connects to a service.
    pub async fn connect(address: std::net::SocketAddr, [start, end]: [DateTime<Utc>; 2]) -> anyhow::Result<Caller> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let channel = endpoint.connect().await.context("the query service does not answer")?;
        // An hour of every store of a month has more bytes than clients take by default.
        let client = SalesQueryServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let [start_time, end_time] = [start, end].map(|time| Some(to_timestamp(time)));
        let range = TimeRange { start_time, end_time, ..TimeRange::default() };
        Ok(Caller { client, currency: "USD".parse().context("USD is a currency")?, range })
    }

    /// Asks and takes the answer apart; that much is the caller's time.
    ///
    /// # Errors
    ///
    /// The service refuses.
    pub async fn ask(&mut self, question: Question) -> anyhow::Result<Response> {
        let range = Some(self.range.clone());
        let rows = match question {
            Question::Summary => {
                let answer =
                    self.client.get_summary(GetSummaryRequest { range, ..Default::default() }).await?.into_inner();
                let before = answer.previous.unwrap_or_default();
                vec![
                    ("0".to_owned(), answer.revenue, answer.transactions, answer.items_sold, answer.total_discount),
                    ("1".to_owned(), before.revenue, before.transactions, before.items_sold, before.total_discount),
                ]
            }
            Question::Daily => {
                let asked =
                    GetRevenueSeriesRequest { range, granularity: Granularity::Day.into(), ..Default::default() };
                let answer = self.client.get_revenue_series(asked).await?.into_inner();
                answer.points.into_iter().map(|point| of_point(String::new(), point)).collect()
            }
            Question::TopProducts => {
                let asked = ListTopProductsRequest { range, limit: TOP_PRODUCTS, ..Default::default() };
                let answer = self.client.list_top_products(asked).await?.into_inner();
                answer.products.into_iter().map(of_product).collect()
            }
            Question::ByStore => {
                let asked = GetBreakdownRequest { range, dimension: Dimension::Store.into(), ..Default::default() };
                let answer = self.client.get_breakdown(asked).await?.into_inner();
                let rows = answer.rows.into_iter();
                rows.map(|it| (store(it.group), it.revenue, it.transactions, it.items_sold, it.total_discount))
                    .collect()
            }
            Question::HourlyByStore => {
                let asked = GetRevenueSeriesRequest {
                    range,
                    granularity: Granularity::Hour.into(),
                    group_by: Dimension::Store.into(),
                    ..Default::default()
                };
                let answer = self.client.get_revenue_series(asked).await?.into_inner();
                let series = answer.series.into_iter();
                series
                    .flat_map(|series| {
                        let prefix = format!("{}|", store(series.group));
                        series.points.into_iter().map(move |point| of_point(prefix.clone(), point))
                    })
                    .collect()
            }
        };
        Ok(Response(rows))
    }

    /// The response in the shape in which answers are compared.
    ///
    /// # Errors
    ///
    /// [`Void`] where an amount is no amount of the currency.
    pub fn answer(&self, response: Response) -> anyhow::Result<Answer> {
        let amount = |money: Option<Money>| match money {
            None => Ok(Decimal::ZERO),
            Some(money) => self.currency.amount(&money).map_err(|error| Void(format!("a wrong amount: {error}"))),
        };
        let figure = |(key, revenue, transactions, items_sold, discount)| {
            let (revenue, total_discount) = (amount(revenue)?, amount(discount)?);
            Ok(Figure { key, revenue, transactions, items_sold, total_discount })
        };
        let figures: Result<Answer, Void> = response.0.into_iter().map(figure).collect();
        Ok(in_order(figures?))
    }
}

/// 36,000 points have some 2 MB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How often a question is asked in a round, of which the median counts.
pub const ASKED_OF_OURS: NonZeroU32 = NonZeroU32::new(15).expect("not zero");

fn of_point(prefix: String, point: RevenuePoint) -> Told {
    let key = format!("{prefix}{}", point.start_time.map(|time| time.seconds).unwrap_or_default());
    (key, point.revenue, point.transactions, point.items_sold, point.total_discount)
}

fn of_product(product: TopProduct) -> Told {
    let TopProduct { product_code, product_name, category, quantity, revenue, transactions } = product;
    let key = format!("{product_code}|{product_name}|{}", category.unwrap_or_default());
    (key, revenue, transactions, quantity, None)
}

fn store(group: Option<GroupKey>) -> String {
    match group.and_then(|group| group.key) {
        Some(Key::StoreId(id)) => id.to_string(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_to_the_cent_and_in_any_order_and_without_gaps() {
        let figure = |key: &str, revenue: &str, transactions| Figure {
            key: key.to_owned(),
            revenue: revenue.parse().unwrap(),
            transactions,
            items_sold: 1,
            total_discount: Decimal::ZERO,
        };
        let one = in_order(vec![figure("2", "1.50", 1), figure("1", "2", 1), figure("3", "0", 0)]);
        assert_eq!(one, in_order(vec![figure("1", "2.00", 1), figure("2", "1.5", 1)]));
        assert_ne!(one, in_order(vec![figure("1", "2.00", 1), figure("2", "1.51", 1)]));
    }
}
