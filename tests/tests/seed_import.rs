//! `cargo xtask seed --via import`: one long stream, checked by its receipt.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::future::pending;

use sqlx::{Connection as _, PgConnection};
use tandem_convergence::Options;
use tandem_tests::{Tandem, database::until, program::Program};
use xtask::{
    postgres::{Login, TestOptions, TestPair, free_port},
    seed::{Plan, import},
    service::Service,
};

#[tokio::test]
async fn all_sales_are_in_and_the_receipt_agrees_with_what_was_sent() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let plan = Plan::new(7_000);
    let outcome = import(&tandem.command_address().to_string(), &plan, pending()).await.unwrap();
    let (mut sales, mut items) = (0, 0);
    for sale in plan.sales() {
        (sales, items) = (sales + 1, items + sale.lines.len() as u64);
    }
    assert_eq!((outcome.sales, outcome.items, outcome.stopped), (sales, items, false));
    let receipt = outcome.receipt.unwrap();
    assert_eq!(receipt.content_hash.len(), 64);
    let question = "select count(*), sum(total_amount)::text from sales.sales_transaction";
    let stored: (i64, String) = sqlx::query_as(question).fetch_one(&mut tandem.primary().await).await.unwrap();
    assert_eq!(stored, (7_000, outcome.revenue.to_string()));
    let (primary, replica) = (tandem.pair.url(Login::PrimaryAdmin), tandem.pair.url(Login::ReplicaAdmin));
    let report = tandem_convergence::check(&primary, &replica, &Options::default()).await.unwrap();
    assert!(report.equal, "{report}");
}

#[tokio::test]
async fn an_import_whose_service_was_killed_goes_on_with_the_next_one_and_writes_nothing_twice() {
    const SALES: u64 = 40_000;
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    let settings = [("TANDEM_COMMAND_LISTEN", listen.as_str())];
    let killed = Program::start(&pair, Service::Command, &settings).await.unwrap();
    let address = listen.clone();
    let importing = tokio::spawn(async move { import(&address, &Plan::new(SALES), pending()).await });
    let mut primary = PgConnection::connect(&pair.url(Login::PrimaryAdmin)).await.unwrap();
    let some = "select count(*) > 0 from sales.sales_transaction";
    until(&mut primary, "some sales are durable", some).await;
    drop(killed);
    let ended = "select not exists (select from pg_stat_activity where usename = 'tandem_command')";
    until(&mut primary, "the killed service's sessions have ended", ended).await;
    let before: i64 =
        sqlx::query_scalar("select count(*) from sales.sales_transaction").fetch_one(&mut primary).await.unwrap();
    assert!((before as u64) < SALES, "it was killed half-way");
    let _next = Program::start(&pair, Service::Command, &settings).await.unwrap();
    let outcome = importing.await.unwrap().unwrap();
    assert_eq!(outcome.sales, SALES);
    let question = "select count(*), count(distinct (transaction_time, cashier_id)) from sales.sales_transaction";
    let (stored, different): (i64, i64) = sqlx::query_as(question).fetch_one(&mut primary).await.unwrap();
    assert_eq!((stored as u64, different as u64), (SALES, SALES), "each once");
}
