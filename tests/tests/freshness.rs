//! What the query service says of freshness when replication, its replica or its pool is not as it should be.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::{path::Path, time::Duration};

use futures::future::join_all;
use sqlx::{Connection as _, PgConnection, migrate::Migrator};
use tandem_proto::sales::{
    command::v1::{CreateTransactionResponse, sales_command_service_client::SalesCommandServiceClient},
    query::v1::{
        GetReplicationStatusRequest, GetTransactionRequest, GetTransactionResponse, ListTransactionsRequest,
        ReadConsistency, replication_service_client::ReplicationServiceClient,
        sales_query_service_client::SalesQueryServiceClient,
    },
};
use tandem_replication::ConsistencyToken;
use tandem_tests::{
    channel,
    database::{disable_subscription, enable_subscription, until},
    health,
    program::Program,
    request::{after, at_most, create, item, reason, sale, strong, within},
    wire,
};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
use tonic_types::StatusExt as _;
use xtask::{
    postgres::{TestOptions, TestPair},
    service::{Binaries, Service},
};

/// Long enough for anything that should succeed.
const LONG: Duration = Duration::from_secs(20);
const STALENESS: &str = "tandem_replication_staleness_seconds";
const QUERIES: &str = "sales.query.v1.SalesQueryService";
const REPLICATION: &str = "sales.query.v1.ReplicationService";
const GET: &str = "/sales.query.v1.SalesQueryService/GetTransaction";

async fn created(command: &Program) -> CreateTransactionResponse {
    let asked = create(sale(1, vec![item("A", 1, "1.00")]));
    SalesCommandServiceClient::new(channel(command.grpc)).create_transaction(asked).await.unwrap().into_inner()
}

async fn get(
    query: &Program,
    id: &str,
    consistency: Option<ReadConsistency>,
    deadline: Duration,
) -> Result<GetTransactionResponse, Status> {
    let asked = within(GetTransactionRequest { transaction_id: id.to_owned(), consistency }, deadline);
    SalesQueryServiceClient::new(channel(query.grpc)).get_transaction(asked).await.map(tonic::Response::into_inner)
}

async fn admin(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// Waits until the exported staleness is as wanted, and gives it.
async fn until_staleness(query: &Program, wanted: impl Fn(f64) -> bool) -> f64 {
    let deadline = Instant::now() + LONG;
    loop {
        let metrics = query.scrape().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with(STALENESS));
        let staleness = line.map(|line| line.split(' ').next_back().unwrap().parse().unwrap());
        if let Some(staleness) = staleness.filter(|staleness| wanted(*staleness)) {
            return staleness;
        }
        assert!(Instant::now() < deadline, "{staleness:?} at last");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn while_a_table_is_copied_no_answer_claims_to_be_fresh() {
    let pair = TestPair::bare(TestOptions::default()).await.unwrap();
    let binaries = Binaries::from_environment().await.unwrap();
    pair.migrate(&binaries, Service::Command).await.unwrap();
    let command = Program::start(&pair, Service::Command, &[]).await.unwrap();
    let stored = created(&command).await;
    let id = stored.transaction.unwrap().transaction_id;

    // The schema first, so that the copy can be held up by whoever holds the lock.
    let mut replica = admin(&pair.replica().admin_url()).await;
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/query/migrations");
    Migrator::new(migrations).await.unwrap().run(&mut replica).await.unwrap();
    let slow_copy = "
        create function sales.hold_up() returns trigger language plpgsql set search_path = pg_catalog
            as 'begin perform pg_advisory_xact_lock_shared(7); return new; end';
        create trigger hold_up before insert on sales.sales_transaction
            for each row execute function sales.hold_up();
        alter table sales.sales_transaction enable always trigger hold_up;
        select pg_advisory_lock(7);
    ";
    sqlx::raw_sql(slow_copy).execute(&mut replica).await.unwrap();
    pair.migrate(&binaries, Service::Query).await.unwrap();
    let query = Program::start(&pair, Service::Query, &[]).await.unwrap();
    let token: ConsistencyToken = stored.consistency_token.parse().unwrap();
    let held_up = "select count(*) = 1 from pg_subscription_rel where srsubstate <> 'r'";
    until(&mut replica, "all tables but one are ready", held_up).await;
    let visible = "select exists (select from tandem.watermark where written_at > now() - interval '1 minute')";
    until(&mut replica, "a watermark is visible", visible).await;
    let passed = sqlx::query_scalar::<_, bool>("select max(lsn) >= $1::pg_lsn from tandem.watermark");
    let passed = passed.bind(token.position().lsn.to_string()).fetch_one(&mut replica).await.unwrap();
    assert!(passed, "the watermark is behind the sale, and the sale is not there");

    let asked = after(&stored.consistency_token);
    for consistency in [asked.clone(), strong(), at_most(Duration::from_secs(3_600))] {
        let status = get(&query, &id, consistency, Duration::from_millis(800)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "REPLICA_BEHIND"), "{status:?}");
        assert_eq!(status.get_details_error_info().unwrap().metadata["tables_copying"], "1");
    }
    let status = get(&query, &id, None, LONG).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.metadata().get("tandem-consistency-token").is_none());
    let mut queries = SalesQueryServiceClient::new(channel(query.grpc));
    let listed = queries.list_transactions(ListTransactionsRequest::default()).await;
    let state = listed.unwrap().into_inner().read_state.unwrap();
    assert_eq!((state.consistency_token.as_str(), state.staleness), ("", None));
    let mut replication = ReplicationServiceClient::new(channel(query.grpc));
    let status = replication.get_replication_status(GetReplicationStatusRequest {}).await;
    let lag = status.unwrap().into_inner().lag.unwrap();
    assert_eq!((lag.tables_copying, lag.staleness, lag.replica_lsn.as_str()), (1, None, ""));
    assert!(until_staleness(&query, f64::is_nan).await.is_nan());
    for (name, expected) in [("", Serving), (REPLICATION, Serving), (QUERIES, NotServing)] {
        assert_eq!(health::check(query.grpc, name).await.unwrap(), expected, "{name:?}");
    }

    sqlx::query("select pg_advisory_unlock(7)").execute(&mut replica).await.unwrap();
    let found = get(&query, &id, asked, LONG).await.unwrap().read_state.unwrap();
    assert!(!found.consistency_token.is_empty() && found.staleness.is_some());
    health::until(query.grpc, QUERIES, Serving, LONG).await;
}

#[tokio::test]
async fn callers_that_hold_every_connection_hold_up_neither_the_watcher_nor_the_status() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let command = Program::start(&pair, Service::Command, &[]).await.unwrap();
    let query = Program::start(&pair, Service::Query, &[("TANDEM_REPLICA_MAX_CONNECTIONS", "1")]).await.unwrap();
    let id = created(&command).await.transaction.unwrap().transaction_id;
    get(&query, &id, strong(), LONG).await.unwrap();

    let mut replica = admin(&pair.replica().admin_url()).await;
    let mut lock = replica.begin().await.unwrap();
    // Readers of sales wait for it; watermarks are applied meanwhile, since no sale is written.
    sqlx::query("lock table sales.sales_transaction in access exclusive mode").execute(&mut *lock).await.unwrap();
    let hanging = get(&query, &id, None, LONG);
    let others = async {
        let mut watching = admin(&pair.replica().admin_url()).await;
        let waits = "select exists (
            select from pg_stat_activity where application_name = 'tandem-query' and wait_event_type = 'Lock'
        )";
        until(&mut watching, "the only connection is held", waits).await;
        let asked = GetReplicationStatusRequest {};
        let mut replication = ReplicationServiceClient::new(channel(query.grpc));
        let status = replication.get_replication_status(within(asked, LONG)).await;
        assert!(status.unwrap().into_inner().lag.unwrap().staleness.is_some());
        // The watermarks go on, and are seen: each begins anew from far below the time between two of them.
        until_staleness(&query, |staleness| staleness > 1.0).await;
        until_staleness(&query, |staleness| staleness < 0.9).await;
        lock.rollback().await.unwrap();
    };
    let (hung, ()) = tokio::join!(hanging, others);
    hung.unwrap();
}

/// Transactions of the replica's database so far; those of the last second may not be counted yet.
async fn transactions(replica: &mut PgConnection) -> i64 {
    let counted = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
    sqlx::query_scalar(counted).fetch_one(replica).await.unwrap()
}

#[tokio::test]
async fn two_hundred_who_wait_cost_the_replica_no_more_than_one() {
    const WAITING: u64 = 200;
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let command = Program::start(&pair, Service::Command, &[]).await.unwrap();
    let query = Program::start(&pair, Service::Query, &[("TANDEM_REPLICA_MAX_CONNECTIONS", "1")]).await.unwrap();
    let first = created(&command).await;
    let first = first.transaction.unwrap().transaction_id;
    get(&query, &first, strong(), LONG).await.unwrap();
    let mut replica = admin(&pair.replica().admin_url()).await;
    disable_subscription(&mut replica).await;
    let later = created(&command).await;
    let (transaction_id, consistency) = (later.transaction.unwrap().transaction_id, after(&later.consistency_token));
    let asked = GetTransactionRequest { transaction_id, consistency };
    // One after the other, so that a busy machine has the time to say to each why it waited in vain.
    let wait = |least: Duration| {
        let (asked, address) = (&asked, query.grpc);
        join_all((0..WAITING).map(move |waiting| {
            let deadline = least + Duration::from_millis(10) * u32::try_from(waiting).unwrap();
            wire::call::<_, GetTransactionResponse>(address, GET, asked, deadline)
        }))
    };

    // The only connection that callers have is held: whoever asked the database for himself would fail for want of one.
    let mut holder = admin(&pair.replica().admin_url()).await;
    let mut lock = holder.begin().await.unwrap();
    sqlx::query("lock table sales.sales_transaction in access exclusive mode").execute(&mut *lock).await.unwrap();
    let hanging = get(&query, &first, None, LONG);
    let others = async {
        let waits = "select exists (
            select from pg_stat_activity where application_name = 'tandem-query' and wait_event_type = 'Lock'
        )";
        until(&mut replica, "the only connection is held", waits).await;
        let (before, begun) = (transactions(&mut replica).await, Instant::now());
        for answer in wait(Duration::from_secs(3)).await {
            let status = answer.unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "REPLICA_BEHIND"), "{status:?}");
        }
        // The one watcher looks every 2 ms; a second more for what was not counted before.
        let most = 500.0 * (begun.elapsed().as_secs_f64() + 1.0);
        let looks = transactions(&mut replica).await - before;
        assert!((looks as f64) < most, "{looks} transactions where {most:.0} would do");
        lock.rollback().await.unwrap();
    };
    let (hung, ()) = tokio::join!(hanging, others);
    hung.unwrap();

    let (answers, ()) = tokio::join!(wait(LONG), enable_subscription(&mut replica));
    for answer in answers {
        assert_eq!(answer.unwrap().transaction.unwrap().transaction_id, asked.transaction_id);
    }
}

#[tokio::test]
async fn the_staleness_that_is_exported_grows_while_the_replica_is_dead() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let command = Program::start(&pair, Service::Command, &[]).await.unwrap();
    let query = Program::start(&pair, Service::Query, &[]).await.unwrap();
    let id = created(&command).await.transaction.unwrap().transaction_id;
    get(&query, &id, strong(), LONG).await.unwrap();
    until_staleness(&query, |staleness| staleness < 3.0).await;
    pair.replica().kill().await.unwrap();
    // A watermark comes every two seconds: only without a replica does it grow beyond.
    until_staleness(&query, |staleness| staleness > 4.0).await;
    pair.replica().start().await.unwrap();
    until_staleness(&query, |staleness| staleness < 3.0).await;
}

#[tokio::test]
async fn staleness_is_measured_by_the_primarys_clock() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let mut primary = admin(&pair.primary().admin_url()).await;
    // What the monitor takes for the primary's clock is an hour ahead; watermarks are written by the true one.
    let ahead = "
        create function public.clock_timestamp() returns timestamptz language sql
            as 'select pg_catalog.clock_timestamp() + interval ''1 hour''';
        grant usage on schema public to tandem_monitor;
        alter role tandem_monitor set search_path = public, pg_catalog;
    ";
    sqlx::raw_sql(ahead).execute(&mut primary).await.unwrap();
    let command = Program::start(&pair, Service::Command, &[]).await.unwrap();
    let query = Program::start(&pair, Service::Query, &[]).await.unwrap();
    let id = created(&command).await.transaction.unwrap().transaction_id;
    until_staleness(&query, |staleness| (3_600.0..3_700.0).contains(&staleness)).await;
    let state = get(&query, &id, strong(), LONG).await.unwrap().read_state.unwrap();
    assert!((3_600..3_700).contains(&state.staleness.unwrap().seconds), "{state:?}");
    let status = get(&query, &id, at_most(Duration::from_secs(60)), Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(reason(&status), "REPLICA_BEHIND");
}

#[tokio::test]
async fn the_token_of_an_answer_covers_what_arrived_after_the_last_look() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let command = Program::start(&pair, Service::Command, &[]).await.unwrap();
    let query = Program::start(&pair, Service::Query, &[]).await.unwrap();
    let stored = created(&command).await;
    get(&query, &stored.transaction.unwrap().transaction_id, strong(), LONG).await.unwrap();
    let mut replica = admin(&pair.replica().admin_url()).await;
    disable_subscription(&mut replica).await;
    let mut queries = SalesQueryServiceClient::new(channel(query.grpc));
    for megabytes in 1_i64..=20 {
        // No worker runs that would say what it has received: the watermark of the snapshot itself has to.
        let planted = "
            insert into tandem.watermark (writer, system_identifier, timeline, lsn, written_at)
            select 'planted ' || $1::bigint, system_identifier, timeline, lsn + $1 * 1048576, clock_timestamp()
            from tandem.watermark where writer not like 'planted %'
            returning lsn::text
        ";
        let planted = sqlx::query_scalar::<_, String>(planted).bind(megabytes).fetch_one(&mut replica).await.unwrap();
        let listed = queries.list_transactions(ListTransactionsRequest::default()).await.unwrap().into_inner();
        let token: ConsistencyToken = listed.read_state.unwrap().consistency_token.parse().unwrap();
        assert!(token.position().lsn >= planted.parse().unwrap(), "{token:?} does not cover {planted}");
    }
}
