//! Questions about figures that make no sense, or ask for too much, are refused with a reason.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use prost_types::Timestamp;
use tandem_proto::sales::query::v1::{
    Dimension, GetBreakdownRequest, GetRevenueSeriesRequest, GetRevenueSeriesResponse, GetSummaryRequest, Granularity,
    ListStoresRequest, ListTransactionsRequest, SalesFilter, TimeRange, TransactionFilter,
};
use tandem_tests::{
    Tandem,
    request::{create, in_store, item, range, reason, sale_at, strong, usd, wrong_fields},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

type Fields = Vec<(String, String)>;

fn fields(expected: &[(&str, &str)]) -> Fields {
    expected.iter().map(|&(field, reason)| (field.to_owned(), reason.to_owned())).collect()
}

fn of_dates(start: &str, end: &str) -> TimeRange {
    TimeRange { start_date: start.to_owned(), end_date: end.to_owned(), ..TimeRange::default() }
}

/// What is wrong with a summary of this range.
async fn refused(range: TimeRange) -> Fields {
    let asked = GetSummaryRequest { range: Some(range), ..Default::default() };
    wrong_fields(&Tandem::shared().await.queries().get_summary(asked).await.unwrap_err())
}

#[tokio::test]
async fn a_range_has_both_ends_of_one_kind_or_none() {
    let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let open = TimeRange { end_time: time(i64::MAX), ..TimeRange::default() };
    let expected = [("range.end_time", "MALFORMED_TIME"), ("range.start_time", "REQUIRED")];
    assert_eq!(refused(open).await, fields(&expected));
    let open = TimeRange { start_time: time(0), ..TimeRange::default() };
    assert_eq!(refused(open).await, fields(&[("range.end_time", "REQUIRED")]));
    assert_eq!(refused(of_dates("2026-03-01", "")).await, fields(&[("range.end_date", "REQUIRED")]));
    assert_eq!(refused(of_dates("", "2026-03-01")).await, fields(&[("range.start_date", "REQUIRED")]));
    for mixed in [
        TimeRange { start_time: time(0), ..of_dates("", "2026-03-01") },
        TimeRange { end_time: time(0), ..of_dates("2026-03-01", "2026-04-01") },
    ] {
        assert_eq!(refused(mixed).await, fields(&[("range", "TIMES_AND_DATES")]));
    }
}

#[tokio::test]
async fn dates_are_days_of_the_calendar_and_zones_have_names_of_the_iana_database() {
    for date in ["2026-02-29", "2026-3-1", "March", "0000-01-01", "9999-01-01", "2026-03-01T00:00:00Z"] {
        assert_eq!(
            refused(of_dates(date, "2026-04-01")).await,
            fields(&[("range.start_date", "NOT_A_DATE")]),
            "{date}"
        );
    }
    assert_eq!(refused(of_dates("2026-03-01", "2026-03-01")).await, fields(&[("range.end_date", "EMPTY_RANGE")]));
    let skipped = TimeRange { time_zone: "Pacific/Apia".to_owned(), ..of_dates("2011-12-30", "2011-12-31") };
    assert_eq!(refused(skipped).await, fields(&[("range.end_date", "EMPTY_RANGE")]));
    let long = "x".repeat(100_000);
    for name in ["Asia/Atlantis", "+05:30", "Etc/Unknown", "../UTC", "UTC\0", &long] {
        let expected = fields(&[("range.time_zone", "UNKNOWN_TIME_ZONE")]);
        assert_eq!(refused(TimeRange { time_zone: name.to_owned(), ..TimeRange::default() }).await, expected);
        let dates = of_dates("2026-03-01", "2026-04-01");
        assert_eq!(refused(TimeRange { time_zone: name.to_owned(), ..dates }).await, expected);
        let times = range(0, DAY).unwrap();
        assert_eq!(refused(TimeRange { time_zone: name.to_owned(), ..times }).await, expected);
    }
}

#[tokio::test]
async fn figures_are_made_of_ten_years_at_most() {
    let mut queries = Tandem::shared().await.queries();
    let asked = |seconds| GetSummaryRequest { range: range(0, seconds), ..Default::default() };
    queries.get_summary(asked(3_660 * DAY)).await.unwrap();
    assert_eq!(refused(range(0, 3_660 * DAY + 1).unwrap()).await, fields(&[("range", "RANGE_TOO_LONG")]));
    // The period before would begin before the wire's first year.
    let first = of_dates("0001-01-02", "0001-02-01");
    let answer = queries.get_summary(GetSummaryRequest { range: Some(first), ..Default::default() }).await.unwrap();
    assert_eq!(answer.into_inner().previous, None);
    let last = of_dates("9998-01-01", "9998-12-31");
    queries.get_summary(GetSummaryRequest { range: Some(last), ..Default::default() }).await.unwrap();
}

async fn series(range: Option<TimeRange>, granularity: Granularity) -> Result<GetRevenueSeriesResponse, Status> {
    let asked = GetRevenueSeriesRequest { range, granularity: granularity.into(), ..Default::default() };
    Tandem::shared().await.queries().get_revenue_series(asked).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_series_has_as_many_steps_as_the_contract_says_and_no_more() {
    let points = series(range(0, 9_000 * HOUR), Granularity::Hour).await.unwrap().points;
    assert_eq!(points.len(), 9_000);
    let many = series(range(0, 9_000 * HOUR + 1), Granularity::Hour).await.unwrap_err();
    assert_eq!(wrong_fields(&many), fields(&[("range", "TOO_MANY_POINTS")]));
    let points = series(range(0, 3_660 * DAY), Granularity::Day).await.unwrap().points;
    assert_eq!(points.len(), 3_660);
    let dimension = Dimension::WeekdayHour.into();
    let asked = GetBreakdownRequest { range: range(0, 9_000 * HOUR + 1), dimension, ..Default::default() };
    let many = Tandem::shared().await.queries().get_breakdown(asked).await.unwrap_err();
    assert_eq!(wrong_fields(&many), fields(&[("range", "TOO_MANY_POINTS")]));
}

#[tokio::test]
async fn groups_that_make_too_many_points_are_refused_with_their_number() {
    // A year of hours for each of six stores are more than 45,000 points.
    const START: i64 = 1_325_376_000;
    let tandem = Tandem::shared().await;
    for store_id in 8_001..=8_006 {
        let sale = sale_at(Timestamp { seconds: START, nanos: 0 }, store_id, vec![item("A", 1, "1.00")]);
        tandem.commands().create_transaction(create(sale)).await.unwrap();
    }
    let asked = |stores: std::ops::RangeInclusive<i32>| GetRevenueSeriesRequest {
        range: range(START, START + 366 * DAY),
        granularity: Granularity::Hour.into(),
        group_by: Dimension::Store.into(),
        filter: Some(SalesFilter { store_ids: stores.collect(), ..SalesFilter::default() }),
        consistency: strong(),
    };
    let series = tandem.queries().get_revenue_series(asked(8_001..=8_005)).await.unwrap().into_inner().series;
    assert!(series.len() == 5 && series.iter().all(|series| series.points.len() == 366 * 24));
    let refused = tandem.queries().get_revenue_series(asked(8_001..=8_006)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "TOO_MANY_POINTS"));
    let metadata = refused.get_details_error_info().unwrap().metadata;
    let known = ["groups", "steps", "max_points"].map(|name| metadata[name].as_str());
    assert_eq!(known, ["6", "8784", "45000"]);
}

#[tokio::test]
async fn dimensions_are_known_and_fit_the_question() {
    let mut queries = Tandem::shared().await.queries();
    for (dimension, reason) in [(0, "REQUIRED"), (99, "UNKNOWN_VALUE")] {
        let asked = GetBreakdownRequest { dimension, ..Default::default() };
        let refused = queries.get_breakdown(asked).await.unwrap_err();
        assert_eq!(wrong_fields(&refused), fields(&[("dimension", reason)]));
    }
    let hours = Dimension::WeekdayHour.into();
    for (group_by, reason) in [(hours, "UNSUPPORTED_DIMENSION"), (99, "UNKNOWN_VALUE")] {
        let asked = GetRevenueSeriesRequest { group_by, granularity: 77, ..Default::default() };
        let refused = queries.get_revenue_series(asked).await.unwrap_err();
        assert_eq!(wrong_fields(&refused), fields(&[("granularity", "UNKNOWN_VALUE"), ("group_by", reason)]));
    }
    let asked = GetBreakdownRequest { dimension: 1, limit: -1, ..Default::default() };
    let refused = queries.get_breakdown(asked).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), fields(&[("limit", "OUT_OF_RANGE")]));
}

#[tokio::test]
async fn texts_of_filters_are_ones_that_a_sale_can_have() {
    let mut queries = Tandem::shared().await.queries();
    let texts = |longest: usize| vec!["x".repeat(longest), String::new(), "x".repeat(longest + 1), "\0".to_owned()];
    let wrong = |field: &str| {
        let reasons = [(1, "EMPTY"), (2, "TOO_LONG"), (3, "CONTAINS_NUL")];
        reasons.map(|(index, reason)| (format!("{field}[{index}]"), reason.to_owned()))
    };
    let filter = SalesFilter { categories: texts(100), ..SalesFilter::default() };
    let refused = queries.list_stores(ListStoresRequest { filter: Some(filter), ..Default::default() }).await;
    assert_eq!(wrong_fields(&refused.unwrap_err()), wrong("filter.categories"));
    let filter = TransactionFilter { categories: texts(100), product_codes: texts(50), ..TransactionFilter::default() };
    let refused =
        queries.list_transactions(ListTransactionsRequest { filter: Some(filter), ..Default::default() }).await;
    let both = [wrong("filter.categories"), wrong("filter.product_codes")].concat();
    assert_eq!(wrong_fields(&refused.unwrap_err()), both);
    let filter = SalesFilter { categories: vec!["x".to_owned(); 101], ..SalesFilter::default() };
    let refused = queries.list_stores(ListStoresRequest { filter: Some(filter), ..Default::default() }).await;
    assert_eq!(wrong_fields(&refused.unwrap_err()), fields(&[("filter.categories", "TOO_MANY_VALUES")]));
}

#[tokio::test]
async fn amounts_of_filters_are_ones_that_a_sale_can_have() {
    let mut queries = Tandem::shared().await.queries();
    let mut euros = usd("1.00");
    euros.currency_code = "EUR".to_owned();
    let mut torn = usd("1.00");
    torn.nanos = -1;
    let cases = [
        (euros, "WRONG_CURRENCY"),
        (torn, "MALFORMED_MONEY"),
        (usd("-0.01"), "NEGATIVE"),
        (usd("0.001"), "TOO_MANY_DECIMALS"),
        (usd("10000000000.00"), "TOO_LARGE"),
    ];
    for (amount, reason) in cases {
        let filter = TransactionFilter {
            min_total_amount: Some(amount.clone()),
            max_total_amount: Some(amount),
            ..TransactionFilter::default()
        };
        let asked = ListTransactionsRequest { filter: Some(filter), ..Default::default() };
        let expected = [("filter.max_total_amount", reason), ("filter.min_total_amount", reason)];
        assert_eq!(wrong_fields(&queries.list_transactions(asked).await.unwrap_err()), fields(&expected));
    }
    let filter = TransactionFilter {
        min_total_amount: Some(usd("2.00")),
        max_total_amount: Some(usd("1.99")),
        ..TransactionFilter::default()
    };
    let asked = ListTransactionsRequest { filter: Some(filter), ..Default::default() };
    let refused = queries.list_transactions(asked).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), fields(&[("filter.max_total_amount", "EMPTY_RANGE")]));
}

#[tokio::test]
async fn a_page_token_of_stores_is_bound_to_its_question() {
    const STORES: [i32; 3] = [8_101, 8_102, 8_103];
    let tandem = Tandem::shared().await;
    let now = chrono::Utc::now().timestamp();
    for store_id in STORES {
        let sale = sale_at(Timestamp { seconds: now - 10, nanos: 0 }, store_id, vec![item("A", 1, "1.00")]);
        tandem.commands().create_transaction(create(sale)).await.unwrap();
    }
    let filter = Some(SalesFilter { store_ids: STORES.to_vec(), ..SalesFilter::default() });
    let asked = |page_token: &str| ListStoresRequest {
        page_size: 2,
        page_token: page_token.to_owned(),
        filter: filter.clone(),
        consistency: strong(),
        ..Default::default()
    };
    let mut queries = tandem.queries();
    let first = queries.list_stores(asked("")).await.unwrap().into_inner();
    let token = first.next_page_token;
    let second = queries.list_stores(asked(&token)).await.unwrap().into_inner();
    assert_eq!(second.range, first.range, "the last thirty days end when the first page was asked for");
    assert_eq!(second.stores.iter().map(|store| store.store_id).collect::<Vec<_>>(), [STORES[2]]);
    let listed = ListTransactionsRequest { page_size: 1, consistency: strong(), ..Default::default() };
    let of_sales = queries.list_transactions(listed).await.unwrap().into_inner().next_page_token;
    let others = [
        (ListStoresRequest { filter: in_store(1), ..asked(&token) }, "PAGE_TOKEN_OF_ANOTHER_QUESTION"),
        (ListStoresRequest { range: range(0, DAY), ..asked(&token) }, "PAGE_TOKEN_OF_ANOTHER_QUESTION"),
        (asked(&token[1..]), "NOT_A_PAGE_TOKEN"),
        (asked(&of_sales), "NOT_A_PAGE_TOKEN"),
    ];
    for (other, reason) in others {
        let refused = queries.list_stores(other).await.unwrap_err();
        assert_eq!(wrong_fields(&refused), fields(&[("page_token", reason)]));
    }
}
