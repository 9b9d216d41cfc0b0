//! `cargo xtask seed --via bulk`: both sides of an empty pair at once, or nothing.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::future::pending;
use std::time::Duration;

use sqlx::PgConnection;
use tandem_convergence::Options;
use tandem_tests::{
    Tandem,
    database::{until, until_command_waits_for_a_lock},
    request::{create, item, sale, within},
};
use tokio::task::JoinHandle;
use xtask::{
    postgres::{Login, TestOptions},
    seed::{Outcome, Plan, bulk, definition},
};

/// Enough for a moment in which rows are written.
const MANY: u64 = 60_000;

async fn start() -> Tandem {
    Tandem::start(TestOptions::default()).await.unwrap()
}

async fn load(tandem: &Tandem, sales: u64) -> anyhow::Result<Outcome> {
    let (primary, replica) = (tandem.pair.url(Login::PrimaryAdmin), tandem.pair.url(Login::ReplicaAdmin));
    bulk(&primary, &replica, &Plan::new(sales), pending()).await
}

/// The same, to be cut off. Aborting it closes its connections without a word, as the end of its process does.
fn load_beside(tandem: &Tandem, sales: u64) -> JoinHandle<anyhow::Result<Outcome>> {
    let (primary, replica) = (tandem.pair.url(Login::PrimaryAdmin), tandem.pair.url(Login::ReplicaAdmin));
    tokio::spawn(async move { bulk(&primary, &replica, &Plan::new(sales), pending()).await })
}

async fn until_rows_are_written(side: &mut PgConnection) {
    let question = "select exists (
        select from pg_stat_activity where application_name = 'tandem-seed' and query like '%sales_item%from stdin%'
    )";
    until(side, "rows are written", question).await;
}

async fn until_nobody_seeds(side: &mut PgConnection) {
    let question = "select not exists (select from pg_stat_activity where application_name = 'tandem-seed')";
    until(side, "the load's sessions have ended", question).await;
}

async fn counted(side: &mut PgConnection) -> (i64, i64) {
    let question = "select (select count(*) from sales.sales_transaction), (select count(*) from sales.sales_item)";
    sqlx::query_as(question).fetch_one(side).await.unwrap()
}

async fn assert_equal(tandem: &Tandem) {
    let (primary, replica) = (tandem.pair.url(Login::PrimaryAdmin), tandem.pair.url(Login::ReplicaAdmin));
    let report = tandem_convergence::check(&primary, &replica, &Options::default()).await.unwrap();
    assert!(report.equal, "{report}");
}

/// How the database itself describes the schema, apart from how the load looks at it.
async fn schema(side: &mut PgConnection) -> Vec<String> {
    let question = "
        select conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) || ' ' || convalidated
        from pg_constraint where connamespace = 'sales'::regnamespace
        union all
        select indexdef from pg_indexes where schemaname = 'sales'
        union all
        select pubname || ' ' || tablename || ' ' || attnames::text from pg_publication_tables
        order by 1";
    sqlx::query_scalar(question).fetch_all(side).await.unwrap()
}

#[tokio::test]
async fn an_empty_pair_is_loaded_on_both_sides_and_defined_as_before_and_the_stream_runs_on() {
    let tandem = start().await;
    let (mut primary, mut replica) = (tandem.primary().await, tandem.replica().await);
    let before = [schema(&mut primary).await, schema(&mut replica).await];
    let defined = [definition(&mut primary).await.unwrap(), definition(&mut replica).await.unwrap()];
    let outcome = load(&tandem, 3_000).await.unwrap();
    let plan: Vec<_> = Plan::new(3_000).sales().collect();
    let items: usize = plan.iter().map(|sale| sale.lines.len()).sum();
    assert_eq!((outcome.sales, outcome.items, outcome.stopped), (3_000, items as u64, false));
    assert_eq!(counted(&mut primary).await, (3_000, i64::try_from(items).unwrap()));
    assert_equal(&tandem).await;
    assert_eq!([schema(&mut primary).await, schema(&mut replica).await], before);
    assert_eq!([definition(&mut primary).await.unwrap(), definition(&mut replica).await.unwrap()], defined);
    assert!(defined[0].iter().any(|line| line.contains("FOREIGN KEY") && line.contains("validated t")), "{defined:?}");
    let marks = "select count(*) from tandem.watermark where writer = 'xtask seed'";
    let marks: i64 = sqlx::query_scalar(marks).fetch_one(&mut primary).await.unwrap();
    assert_eq!(marks, 0, "our watermark is gone");
    // A foreign key that is checked by nobody, or a publication that lost its tables, would show now.
    tandem.commands().create_transaction(create(sale(1, vec![item("COF", 1, "2.00")]))).await.unwrap();
    assert_equal(&tandem).await;
    assert_eq!(counted(&mut replica).await.0, 3_001);
    // Had the stream brought the rows as well, it would have emptied the table and filled it once more.
    let inserted = "select n_tup_ins >= 3001 from pg_stat_user_tables where relname = 'sales_transaction'";
    until(&mut replica, "the statistics know of the live sale", inserted).await;
    let inserted: i64 =
        sqlx::query_scalar("select n_tup_ins from pg_stat_user_tables where relname = 'sales_transaction'")
            .fetch_one(&mut replica)
            .await
            .unwrap();
    assert_eq!(inserted, 3_001, "each row was written once on the replica");
    let orphan = "insert into sales.sales_item
        select gen_random_uuid(), gen_random_uuid(), 'c', 'n', null, 1, 1, 0, 1";
    assert!(sqlx::query(orphan).execute(&mut primary).await.is_err(), "the foreign key is live");
}

#[tokio::test]
async fn a_pair_with_sales_is_refused_and_left_as_it_is() {
    let tandem = start().await;
    tandem.commands().create_transaction(create(sale(1, vec![item("COF", 1, "2.00")]))).await.unwrap();
    let error = load(&tandem, 100).await.unwrap_err().to_string();
    assert!(error.contains("holds sales already") && error.contains("--via copy"), "{error}");
    assert_eq!(counted(&mut tandem.primary().await).await, (1, 1));
    assert_equal(&tandem).await;
}

#[tokio::test]
async fn another_reader_of_the_primarys_changes_would_miss_the_sales_so_the_load_is_refused() {
    let tandem = start().await;
    let mut primary = tandem.primary().await;
    let slot = "select from pg_create_logical_replication_slot('another', 'pgoutput')";
    sqlx::query(slot).execute(&mut primary).await.unwrap();
    let error = load(&tandem, 100).await.unwrap_err().to_string();
    assert!(error.contains("another"), "{error}");
    assert_eq!(counted(&mut primary).await, (0, 0));
}

#[tokio::test]
async fn a_load_that_is_killed_half_way_leaves_both_sides_as_they_were_and_can_be_run_again() {
    let tandem = start().await;
    let (mut primary, mut replica) = (tandem.primary().await, tandem.replica().await);
    let before = [definition(&mut primary).await.unwrap(), definition(&mut replica).await.unwrap()];
    let killed = load_beside(&tandem, MANY);
    until_rows_are_written(&mut replica).await;
    killed.abort();
    until_nobody_seeds(&mut primary).await;
    until_nobody_seeds(&mut replica).await;
    assert_eq!((counted(&mut primary).await, counted(&mut replica).await), ((0, 0), (0, 0)));
    assert_eq!([definition(&mut primary).await.unwrap(), definition(&mut replica).await.unwrap()], before);
    assert_equal(&tandem).await;
    assert_eq!(load(&tandem, 2_000).await.unwrap().sales, 2_000);
    assert_equal(&tandem).await;
}

#[tokio::test]
async fn a_load_that_is_stopped_leaves_both_sides_as_they_were_and_says_so() {
    let tandem = start().await;
    let (url, mut replica) = (|login| tandem.pair.url(login), tandem.replica().await);
    let stop = until_rows_are_written(&mut replica);
    let outcome = bulk(&url(Login::PrimaryAdmin), &url(Login::ReplicaAdmin), &Plan::new(MANY), stop).await.unwrap();
    assert_eq!((outcome.sales, outcome.stopped), (0, true));
    until_nobody_seeds(&mut replica).await;
    assert_eq!((counted(&mut tandem.primary().await).await, counted(&mut replica).await), ((0, 0), (0, 0)));
}

/// Killed between the two COMMITs, the replica alone holds rows.
#[tokio::test]
async fn what_a_load_left_on_the_replica_alone_goes_with_the_next_one() {
    let tandem = start().await;
    let mut replica = tandem.replica().await;
    let left = "insert into sales.sales_item
        select gen_random_uuid(), gen_random_uuid(), 'c', 'n', null, 1, 1, 0, 1 from generate_series(1, 50)";
    sqlx::query(left).execute(&mut replica).await.unwrap();
    assert_eq!(load(&tandem, 500).await.unwrap().sales, 500);
    assert_equal(&tandem).await;
    assert_eq!(counted(&mut replica).await.0, 500);
}

#[tokio::test]
async fn a_sale_that_is_made_during_a_load_waits_and_is_on_both_sides() {
    let tandem = start().await;
    let mut primary = tandem.primary().await;
    let loading = load_beside(&tandem, MANY);
    until_rows_are_written(&mut primary).await;
    let mut commands = tandem.commands();
    let made = tokio::spawn(async move {
        let request = create(sale(7, vec![item("COF", 1, "2.00")]));
        commands.create_transaction(within(request, Duration::from_secs(20))).await
    });
    until_command_waits_for_a_lock(&mut primary).await;
    loading.await.unwrap().unwrap();
    made.await.unwrap().unwrap();
    assert_eq!(counted(&mut primary).await.0, i64::try_from(MANY).unwrap() + 1);
    assert_equal(&tandem).await;
}
