//! What a caller of the query service can rely on.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use prost_types::Timestamp;
use rust_decimal::Decimal;
use tandem_proto::{
    google::r#type::Money,
    sales::{
        command::v1::DeleteTransactionRequest,
        query::v1::{
            GetReplicationStatusRequest, GetRevenueSeriesRequest, GetSummaryRequest, GetTransactionRequest,
            ListTopProductsRequest, ListTransactionsRequest, PrimaryState, ProductRanking, SalesFilter, TableState,
            TransactionFilter,
        },
        v1::{SalesItem, SalesTransaction},
    },
};
use tandem_replication::ConsistencyToken;
use tandem_tests::{
    Tandem,
    request::{after, create, discounted, in_store, item, range, reason, sale_at, strong, usd},
};
use tonic_types::StatusExt as _;

/// A Monday, 2024-01-01 00:00 UTC.
const MONDAY: i64 = 1_704_067_200;
const DAY: i64 = 86_400;

/// Creates a sale and gives the token that covers it.
async fn store(tandem: &Tandem, store_id: i32, seconds: i64, items: Vec<SalesItem>) -> (SalesTransaction, String) {
    let asked = sale_at(Timestamp { seconds, nanos: 0 }, store_id, items);
    let stored = tandem.commands().create_transaction(create(asked)).await.unwrap().into_inner();
    (stored.transaction.unwrap(), stored.consistency_token)
}

fn cents(money: Option<Money>) -> Decimal {
    let money = money.unwrap();
    Decimal::from(money.units) + Decimal::new(i64::from(money.nanos), 9)
}

#[tokio::test]
async fn a_summary_counts_each_sale_once_however_many_items_it_has() {
    const STORE: i32 = 101;
    let tandem = Tandem::shared().await;
    store(tandem, STORE, MONDAY, vec![item("A", 2, "1.00"), item("B", 1, "8.00"), discounted("C", 1, "1.00", "0.50")])
        .await;
    let (_, token) = store(tandem, STORE, MONDAY + 1, vec![item("A", 1, "0.01")]).await;
    let asked =
        GetSummaryRequest { range: range(MONDAY, MONDAY + 2), filter: in_store(STORE), consistency: after(&token) };
    let summary = tandem.queries().get_summary(asked).await.unwrap().into_inner();
    assert_eq!(summary.revenue, Some(usd("10.51")));
    assert_eq!((summary.transactions, summary.items_sold), (2, 5));
    assert_eq!(summary.average_transaction, Some(usd("5.26")));
    assert_eq!(summary.total_discount, Some(usd("0.50")));
}

#[tokio::test]
async fn ranges_are_half_open() {
    const STORE: i32 = 102;
    let tandem = Tandem::shared().await;
    store(tandem, STORE, MONDAY, vec![item("A", 1, "1.00")]).await;
    let (_, token) = store(tandem, STORE, MONDAY + 10, vec![item("A", 1, "2.00")]).await;
    let consistency = after(&token);
    let mut queries = tandem.queries();
    for (start, end, revenue) in [(0, 10, "1.00"), (1, 10, "0.00"), (1, 11, "2.00"), (0, 11, "3.00")] {
        let range = range(MONDAY + start, MONDAY + end);
        let asked = GetSummaryRequest { range, filter: in_store(STORE), consistency: consistency.clone() };
        let summary = queries.get_summary(asked).await.unwrap().into_inner();
        assert_eq!(summary.revenue, Some(usd(revenue)), "{start}..{end}");
    }
}

#[tokio::test]
async fn without_a_range_the_last_thirty_days_are_summed_up() {
    const STORE: i32 = 103;
    let tandem = Tandem::shared().await;
    let now = chrono::Utc::now().timestamp();
    store(tandem, STORE, now - 31 * DAY, vec![item("A", 1, "1.00")]).await;
    let (_, token) = store(tandem, STORE, now - 29 * DAY, vec![item("A", 1, "2.00")]).await;
    let asked = GetSummaryRequest { filter: in_store(STORE), consistency: after(&token), ..Default::default() };
    let summary = tandem.queries().get_summary(asked).await.unwrap().into_inner();
    assert_eq!(summary.revenue, Some(usd("2.00")));
    let range = summary.range.unwrap();
    assert_eq!(range.end_time.unwrap().seconds - range.start_time.unwrap().seconds, 30 * DAY);
}

#[tokio::test]
async fn a_daily_series_has_every_day_and_adds_up_to_the_summary() {
    const STORE: i32 = 104;
    let tandem = Tandem::shared().await;
    store(tandem, STORE, MONDAY, vec![item("A", 1, "1.00"), item("B", 3, "1.00")]).await;
    store(tandem, STORE, MONDAY + DAY - 1, vec![item("A", 1, "2.00")]).await;
    let (_, token) = store(tandem, STORE, MONDAY + 3 * DAY, vec![item("A", 2, "5.00")]).await;
    let consistency = after(&token);
    let range = range(MONDAY - 3600, MONDAY + 3 * DAY + 1);
    let asked = GetRevenueSeriesRequest { range, filter: in_store(STORE), consistency, ..Default::default() };
    let points = tandem.queries().get_revenue_series(asked).await.unwrap().into_inner().points;
    let days: Vec<_> = points.iter().map(|point| (point.start_time.unwrap().seconds - MONDAY) / DAY).collect();
    assert_eq!(days, [-1, 0, 1, 2, 3]);
    let figures: Vec<_> = points.into_iter().map(|p| (cents(p.revenue), p.transactions, p.items_sold)).collect();
    let expected = [("0", 0, 0), ("6", 2, 5), ("0", 0, 0), ("0", 0, 0), ("10", 1, 2)];
    assert_eq!(figures, expected.map(|(revenue, sales, items)| (revenue.parse().unwrap(), sales, items)));
}

#[tokio::test]
async fn a_series_that_ends_at_midnight_does_not_show_the_next_day() {
    let tandem = Tandem::shared().await;
    let asked = GetRevenueSeriesRequest { range: range(MONDAY, MONDAY + DAY), ..Default::default() };
    let points = tandem.queries().get_revenue_series(asked).await.unwrap().into_inner().points;
    assert_eq!(points.len(), 1);
}

#[tokio::test]
async fn top_products_are_ranked_by_revenue_or_by_quantity() {
    const STORE: i32 = 105;
    let tandem = Tandem::shared().await;
    store(tandem, STORE, MONDAY, vec![item("CHEAP", 10, "0.10"), item("DEAR", 1, "50.00")]).await;
    let renamed = SalesItem { product_name: "Dearest".to_owned(), category: None, ..item("DEAR", 1, "50.00") };
    let (_, token) =
        store(tandem, STORE, MONDAY + 1, vec![renamed, item("ALSO", 2, "25.00"), item("ALSO", 1, "50.00")]).await;
    let ask = |ranking: ProductRanking, limit| ListTopProductsRequest {
        range: range(MONDAY, MONDAY + DAY),
        filter: in_store(STORE),
        ranking: ranking.into(),
        limit,
        consistency: after(&token),
    };
    let mut queries = tandem.queries();
    let products = queries.list_top_products(ask(ProductRanking::Revenue, 0)).await.unwrap().into_inner().products;
    let figures: Vec<_> =
        products.iter().map(|p| (&*p.product_code, p.quantity, cents(p.revenue.clone()), p.transactions)).collect();
    let hundred = Decimal::from(100);
    assert_eq!(figures, [("ALSO", 3, hundred, 1), ("DEAR", 2, hundred, 2), ("CHEAP", 10, Decimal::ONE, 1)]);
    assert_eq!((&*products[1].product_name, products[1].category.as_deref()), ("Dearest", None));
    let products = queries.list_top_products(ask(ProductRanking::Quantity, 1)).await.unwrap().into_inner().products;
    assert_eq!(products.iter().map(|p| &*p.product_code).collect::<Vec<_>>(), ["CHEAP"]);
}

#[tokio::test]
async fn filters_narrow_and_their_values_are_alternatives() {
    const STORE: i32 = 108;
    let tandem = Tandem::shared().await;
    let mut commands = tandem.commands();
    let mut token = String::new();
    for (cashier_id, customer_id, method) in [(1, Some(7), "cash"), (2, Some(8), "qris"), (2, None, "cash")] {
        let items = vec![item("A", 1, "1.00")];
        let mut asked = sale_at(Timestamp { seconds: MONDAY, nanos: 0 }, STORE, items);
        (asked.cashier_id, asked.customer_id, asked.payment_method) = (cashier_id, customer_id, method.to_owned());
        token = commands.create_transaction(create(asked)).await.unwrap().into_inner().consistency_token;
    }
    let store_ids = vec![STORE];
    let cash = vec!["cash".to_owned()];
    let cases = [
        (TransactionFilter { store_ids: store_ids.clone(), ..Default::default() }, 3),
        (TransactionFilter { store_ids: vec![STORE, 1], cashier_ids: vec![2], ..Default::default() }, 2),
        (TransactionFilter { store_ids: store_ids.clone(), customer_ids: vec![7, 8], ..Default::default() }, 2),
        (TransactionFilter { store_ids: store_ids.clone(), payment_methods: cash.clone(), ..Default::default() }, 2),
        (TransactionFilter { store_ids, cashier_ids: vec![2], payment_methods: cash, ..Default::default() }, 1),
    ];
    let second = || range(MONDAY, MONDAY + 1);
    let mut queries = tandem.queries();
    for (filter, expected) in cases {
        let consistency = after(&token);
        let asked = ListTransactionsRequest {
            filter: Some(filter.clone()),
            range: second(),
            consistency,
            ..Default::default()
        };
        let listed = queries.list_transactions(asked).await.unwrap().into_inner().transactions;
        assert_eq!(listed.len(), expected, "{filter:?}");
    }
    for (payment_methods, expected) in [(vec![], 3), (vec!["cash"], 2), (vec!["cash", "qris"], 3), (vec!["card"], 0)] {
        let payment_methods = payment_methods.into_iter().map(str::to_owned).collect();
        let filter = Some(SalesFilter { store_ids: vec![STORE, 1], payment_methods, ..SalesFilter::default() });
        let asked = GetSummaryRequest { range: second(), filter: filter.clone(), consistency: after(&token) };
        assert_eq!(queries.get_summary(asked).await.unwrap().into_inner().transactions, expected, "{filter:?}");
        let consistency = after(&token);
        let asked = GetRevenueSeriesRequest {
            range: second(),
            filter: filter.clone(),
            consistency: consistency.clone(),
            ..Default::default()
        };
        let points = queries.get_revenue_series(asked).await.unwrap().into_inner().points;
        assert_eq!(points[0].transactions, expected, "{filter:?}");
        let asked =
            ListTopProductsRequest { range: second(), filter: filter.clone(), consistency, ..Default::default() };
        let products = queries.list_top_products(asked).await.unwrap().into_inner().products;
        assert_eq!(products.first().map_or(0, |product| product.transactions), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn who_does_not_find_a_sale_hears_how_much_the_replica_knew() {
    let tandem = Tandem::shared().await;
    let (_, token) = store(tandem, 113, MONDAY, vec![item("A", 1, "1.00")]).await;
    let transaction_id = uuid::Uuid::now_v7().to_string();
    let asked = GetTransactionRequest { transaction_id, consistency: after(&token) };
    let status = tandem.queries().get_transaction(asked).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (tonic::Code::NotFound, "NOT_FOUND"));
    let metadata = status.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata["replica_name"], "replica-1");
    assert!(metadata["staleness_seconds"].parse::<f64>().unwrap() >= 0.0);
    let covered = status.metadata().get("tandem-consistency-token").unwrap().to_str().unwrap();
    let lsn = |token: &str| token.parse::<ConsistencyToken>().unwrap().position().lsn;
    assert!(lsn(covered) >= lsn(&token), "the token covers what was asked for");
}

#[tokio::test]
async fn a_read_with_the_token_of_a_write_always_sees_the_write() {
    const STORE: i32 = 109;
    const ROUNDS: i64 = 200;
    let tandem = Tandem::shared().await;
    let mut queries = tandem.queries();
    for round in 0..ROUNDS {
        let (sale, token) = store(tandem, STORE, MONDAY + round, vec![item("A", 1, "1.00")]).await;
        let transaction_id = sale.transaction_id.clone();
        let asked = GetTransactionRequest { transaction_id, consistency: after(&token) };
        let found = queries.get_transaction(asked).await.unwrap().into_inner();
        assert_eq!(found.transaction.unwrap(), sale);
        let state = found.read_state.unwrap();
        assert_eq!(state.replica_name, "replica-1");
        assert!(state.staleness.is_some());
        // The answer's own token is good for the next read.
        let asked = GetSummaryRequest {
            range: range(MONDAY, MONDAY + ROUNDS),
            filter: in_store(STORE),
            consistency: after(&state.consistency_token),
        };
        assert_eq!(queries.get_summary(asked).await.unwrap().into_inner().transactions, round + 1);
    }
}

#[tokio::test]
async fn a_strong_read_sees_every_earlier_write_without_a_token() {
    const STORE: i32 = 110;
    let tandem = Tandem::shared().await;
    let mut queries = tandem.queries();
    for _ in 0..50 {
        let (sale, _) = store(tandem, STORE, MONDAY, vec![item("A", 1, "1.00")]).await;
        let asked = GetTransactionRequest { transaction_id: sale.transaction_id.clone(), consistency: strong() };
        queries.get_transaction(asked).await.unwrap();
        let delete = DeleteTransactionRequest { transaction_id: sale.transaction_id.clone(), ..Default::default() };
        tandem.commands().delete_transaction(delete).await.unwrap();
        let asked = GetTransactionRequest { transaction_id: sale.transaction_id, consistency: strong() };
        assert_eq!(queries.get_transaction(asked).await.unwrap_err().code(), tonic::Code::NotFound);
    }
}

#[tokio::test]
async fn replication_status_tells_of_both_sides() {
    let tandem = Tandem::shared().await;
    store(tandem, 111, MONDAY, vec![item("A", 1, "1.00")]).await;
    let asked = GetReplicationStatusRequest {};
    let status = tandem.replication().get_replication_status(asked).await.unwrap().into_inner();
    assert_eq!(status.primary_state(), PrimaryState::Reachable);
    let names: Vec<_> = status.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["sales.sales_item", "sales.sales_transaction", "tandem.batch_control", "tandem.watermark"]);
    assert!(status.tables.iter().all(|table| table.state() == TableState::Ready));
    let subscription = status.subscription.unwrap();
    assert!(subscription.enabled && subscription.apply_worker_running);
    assert_eq!((subscription.apply_errors, subscription.sync_errors), (0, 0));
    let slot = status.slot.unwrap();
    assert!(slot.active);
    assert_eq!(slot.wal_status, "reserved");
    assert!(slot.safe_wal_bytes.is_some_and(|bytes| bytes > 0), "WAL that a slot keeps is limited");
    let lag = status.lag.unwrap();
    assert!(lag.bytes.is_some_and(|bytes| bytes >= 0) && lag.staleness.is_some());
    assert_eq!(status.publication.unwrap().tables, names);
}
