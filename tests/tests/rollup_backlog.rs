//! A folder that stands still: seen from outside, and without an effect on what figures say.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::time::Duration;

use sqlx::Connection as _;
use tandem_proto::sales::query::v1::{GetReplicationStatusRequest, GetSummaryRequest, TimeRange};
use tandem_tests::{
    Tandem,
    database::until,
    request::{after, create, item, sale, usd},
};
use tokio::time::{Instant, sleep};
use xtask::postgres::TestOptions;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_stands_still_is_seen_and_figures_stay_exact() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let mut admin = tandem.replica().await;
    until(&mut admin, "the service folds", "select exists (select from pg_locks where locktype = 'advisory')").await;
    let mut held = admin.begin().await.unwrap();
    sqlx::query("select generation from tandem.fold for update").execute(&mut *held).await.unwrap();

    let sold = create(sale(3, vec![item("COF-1", 2, "2.50")]));
    let token = tandem.commands().create_transaction(sold).await.unwrap().into_inner().consistency_token;
    let range = TimeRange { start_date: "2020-01-01".into(), end_date: "2029-01-01".into(), ..TimeRange::default() };
    let asked = GetSummaryRequest { range: Some(range), consistency: after(&token), ..GetSummaryRequest::default() };
    let exact = async |behind: i64| {
        let summary = tandem.queries().get_summary(asked.clone()).await.unwrap().into_inner();
        assert_eq!((summary.transactions, summary.revenue), (1, Some(usd("5.00"))));
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = tandem.replication().get_replication_status(GetReplicationStatusRequest {}).await.unwrap();
            let rollups = status.into_inner().rollups.unwrap();
            assert!(!rollups.sweeping);
            if rollups.backlog_sales == behind {
                break;
            }
            assert!(Instant::now() < deadline, "waited in vain for a backlog of {behind}: {rollups:?}");
            sleep(Duration::from_millis(20)).await;
        }
    };
    exact(1).await;
    held.rollback().await.unwrap();
    exact(0).await;
    let folded: i64 =
        sqlx::query_scalar("select transactions from tandem.rollup where dimension = 'all' and grain = 'day'")
            .fetch_one(&mut admin)
            .await
            .unwrap();
    assert_eq!(folded, 1);
}
