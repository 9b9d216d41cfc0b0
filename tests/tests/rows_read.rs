//! Figures are as cheap as their answer is long, however often they are asked for.
//!
//! From the sixth time on a prepared statement may be planned without knowing its parameters. A plan that reads all there
//! is answers right, and hundreds of times slower.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::{collections::BTreeMap, time::Duration};

use sqlx::{Connection as _, PgConnection};
use tandem_proto::sales::query::v1::{
    Dimension, GetBreakdownRequest, GetReplicationStatusRequest, GetRevenueSeriesRequest, GetSummaryRequest,
    Granularity, ListTopProductsRequest, TimeRange,
};
use tandem_tests::{Tandem, database::until};
use tokio::time::{Instant, sleep};
use xtask::postgres::TestOptions;

const SALES: i64 = 20_000;
/// More often than it takes until a statement is planned for good.
const TIMES: u64 = 8;

/// An hour of sixty days has 14 sales on average, three items each.
const FILL: &str = "
    with sale as materialized (
        select number, gen_random_uuid() as id, timestamptz '2026-01-01 00:00Z' + number * interval '259 seconds' as sold_at
        from generate_series(0, $1::bigint - 1) as number
    ),
    header as (
        insert into sales.sales_transaction (
            transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            created_at, updated_at, version
        )
        select id, sold_at, 1 + number % 600, 1 + number % 50, 'cash', 3, 0, sold_at, sold_at, 1 from sale
        returning 1
    )
    insert into sales.sales_item (
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
    )
    select gen_random_uuid(), id, 'P-' || (number + line) % 200, 'A product', 'C-' || line, 1, 1, 0, 1
    from sale
    cross join generate_series(1, 3) as line";

#[tokio::test(flavor = "multi_thread")]
async fn a_question_about_three_days_reads_three_days_however_often_it_is_asked() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    sqlx::query(FILL).bind(SALES).execute(&mut tandem.primary().await).await.unwrap();
    let mut admin = tandem.replica().await;
    let arrived = "select count(*) = 60000 from sales.sales_item";
    until(&mut admin, "all is there", arrived).await;
    folded(&tandem).await;
    sqlx::raw_sql("vacuum analyze").execute(&mut admin).await.unwrap();
    // The folder would be counted too.
    let mut holder = tandem.replica().await;
    let mut held = holder.begin().await.unwrap();
    sqlx::query("select generation from tandem.fold for update").execute(&mut *held).await.unwrap();

    for question in ["summary", "daily", "hourly by store", "top products", "by store"] {
        let before = rows_read(&mut admin).await;
        for _ in 0..TIMES {
            ask(&tandem, question).await;
        }
        let after = rows_read(&mut admin).await;
        for (table, rows) in after {
            let rows = (rows - before.get(&table).copied().unwrap_or_default()) / TIMES as i64;
            // Of sales and items the last block ranges, which may hold changes; of rollups at most 72 hours of 50 stores.
            let most = if table == "rollup" { 4_000 } else { 6_000 };
            assert!(rows <= most, "{question}: {rows} rows of {table} for each answer");
        }
    }
    held.rollback().await.unwrap();
}

async fn folded(tandem: &Tandem) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = tandem.replication().get_replication_status(GetReplicationStatusRequest {}).await.unwrap();
        let rollups = status.into_inner().rollups.unwrap();
        if !rollups.sweeping && rollups.backlog_sales == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "waited in vain for the folder: {rollups:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn ask(tandem: &Tandem, question: &str) {
    let range =
        Some(TimeRange { start_date: "2026-02-01".into(), end_date: "2026-02-04".into(), ..TimeRange::default() });
    let mut queries = tandem.queries();
    let dimension = Dimension::Store.into();
    let answered = match question {
        "summary" => {
            queries
                .get_summary(GetSummaryRequest { range, ..Default::default() })
                .await
                .unwrap()
                .into_inner()
                .transactions
        }
        "daily" => {
            let granularity = Granularity::Day.into();
            let asked = GetRevenueSeriesRequest { range, granularity, ..Default::default() };
            queries.get_revenue_series(asked).await.unwrap().into_inner().points.iter().map(|it| it.transactions).sum()
        }
        "hourly by store" => {
            let granularity = Granularity::Hour.into();
            let asked = GetRevenueSeriesRequest { range, granularity, group_by: dimension, ..Default::default() };
            let series = queries.get_revenue_series(asked).await.unwrap().into_inner().series;
            series.iter().flat_map(|it| &it.points).map(|it| it.transactions).sum()
        }
        "top products" => {
            let asked = ListTopProductsRequest { range, limit: 1_000, ..Default::default() };
            queries.list_top_products(asked).await.unwrap().into_inner().products.iter().map(|it| it.transactions).sum()
        }
        _ => {
            let asked = GetBreakdownRequest { range, dimension, ..Default::default() };
            queries.get_breakdown(asked).await.unwrap().into_inner().rows.iter().map(|it| it.transactions).sum()
        }
    };
    assert!(answered > 900, "{question}: {answered} sales");
}

/// Rows that statements have read so far, by table. A backend tells at the end of a transaction, and once a second.
async fn rows_read(admin: &mut PgConnection) -> BTreeMap<String, i64> {
    sleep(Duration::from_secs(2)).await;
    let told: Vec<(String, i64)> = sqlx::query_as(
        "select relname, (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables
        where relname in ('sales_transaction', 'sales_item', 'rollup', 'past_sale', 'past_item')",
    )
    .fetch_all(admin)
    .await
    .unwrap();
    told.into_iter().collect()
}
