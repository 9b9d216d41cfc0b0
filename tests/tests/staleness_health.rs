//! A replica that is too stale is told to load balancers, of queries alone, and for as long as it lasts.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tandem_proto::sales::query::v1::{ListTransactionsRequest, sales_query_service_client::SalesQueryServiceClient};
use tandem_tests::{
    channel,
    database::{disable_subscription, enable_subscription},
    health,
    program::Program,
};
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
use xtask::{
    postgres::{TestOptions, TestPair},
    service::Service,
};

/// Long enough for anything that should succeed.
const LONG: Duration = Duration::from_secs(20);
const THRESHOLD: &str = "TANDEM_MAX_HEALTHY_STALENESS";
const QUERIES: &str = "sales.query.v1.SalesQueryService";
const REPLICATION: &str = "sales.query.v1.ReplicationService";

/// What a program has said so far of the health of queries alone, in order.
fn said_of_queries(program: &Program) -> Vec<String> {
    let lines = program.log().into_iter().map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap());
    let changes = lines.filter(|line| line["message"] == "health changed");
    let of_queries = changes.filter(|line| line["of"].as_str().unwrap().contains(QUERIES));
    of_queries.map(|line| line["status"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_stale_replica_turns_the_health_of_queries_and_of_nothing_else_and_back() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let _command = Program::start(&pair, Service::Command, &[]).await.unwrap();
    let strict = Program::start(&pair, Service::Query, &[(THRESHOLD, "4s")]).await.unwrap();
    let patient = Program::start(&pair, Service::Query, &[]).await.unwrap();
    let off = Program::start(&pair, Service::Query, &[(THRESHOLD, "off")]).await.unwrap();
    for program in [&strict, &patient, &off] {
        health::until(program.grpc, QUERIES, Serving, LONG).await;
    }
    let mut replica = PgConnection::connect(&pair.replica().admin_url()).await.unwrap();
    disable_subscription(&mut replica).await;
    health::until(strict.grpc, QUERIES, NotServing, LONG).await;
    for name in ["", REPLICATION] {
        assert_eq!(health::check(strict.grpc, name).await.unwrap(), Serving, "{name:?}");
    }
    for program in [&patient, &off] {
        assert_eq!(health::check(program.grpc, QUERIES).await.unwrap(), Serving, "four seconds are not too many");
    }
    strict.line(|line| line["message"] == "the replica is too stale to be asked").await.unwrap();
    let mut queries = SalesQueryServiceClient::new(channel(strict.grpc));
    let listed = queries.list_transactions(ListTransactionsRequest::default()).await;
    let staleness = listed.unwrap().into_inner().read_state.unwrap().staleness.unwrap();
    assert!(staleness.seconds >= 4, "who asks all the same is answered, and told");

    enable_subscription(&mut replica).await;
    health::until(strict.grpc, QUERIES, Serving, LONG).await;
    assert_eq!(said_of_queries(&strict), ["SERVING", "NOT_SERVING", "SERVING"]);
    assert_eq!(said_of_queries(&off), ["SERVING"]);
}

#[tokio::test]
async fn a_replica_at_rest_does_not_come_and_go_and_one_without_a_watermark_is_not_fresh_unless_that_is_off() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let strict = Program::start(&pair, Service::Query, &[(THRESHOLD, "5s")]).await.unwrap();
    let off = Program::start(&pair, Service::Query, &[(THRESHOLD, "off")]).await.unwrap();
    health::until(off.grpc, QUERIES, Serving, LONG).await;
    health::until(strict.grpc, "", Serving, LONG).await;
    assert_eq!(health::check(strict.grpc, QUERIES).await.unwrap(), NotServing, "nobody has written a watermark");

    let _command = Program::start(&pair, Service::Command, &[]).await.unwrap();
    health::until(strict.grpc, QUERIES, Serving, LONG).await;
    // Several watermarks of a primary at rest: it stays.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(said_of_queries(&strict), ["SERVING"]);
}

#[tokio::test]
async fn while_no_command_service_runs_a_replica_that_misses_nothing_stays_healthy() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let command = Program::start(&pair, Service::Command, &[]).await.unwrap();
    let query = Program::start(&pair, Service::Query, &[(THRESHOLD, "18s")]).await.unwrap();
    health::until(query.grpc, QUERIES, Serving, LONG).await;
    command.terminate().unwrap();
    command.ended().await.unwrap();
    // Nobody writes watermarks now: callers are told that the replica may be stale, load balancers that it may be asked.
    let mut queries = SalesQueryServiceClient::new(channel(query.grpc));
    let staler = async {
        loop {
            let listed = queries.list_transactions(ListTransactionsRequest::default()).await.unwrap().into_inner();
            if listed.read_state.unwrap().staleness.unwrap().seconds > 22 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(2 * LONG, staler).await.unwrap();
    assert_eq!(said_of_queries(&query), ["SERVING"], "{:#?}", query.log());

    let mut replica = PgConnection::connect(&pair.replica().admin_url()).await.unwrap();
    disable_subscription(&mut replica).await;
    health::until(query.grpc, QUERIES, NotServing, 2 * LONG).await;
}
