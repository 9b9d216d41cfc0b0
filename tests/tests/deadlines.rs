//! A call ends before its deadline with words that say why, and reads are as fresh as they were asked to be.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use sqlx::Connection as _;
use tandem_proto::sales::{
    command::v1::{CreateTransactionResponse, UpdateTransactionRequest, UpdateTransactionResponse},
    query::v1::{GetTransactionRequest, GetTransactionResponse, ReadConsistency, read_consistency::Requirement},
    v1::SalesTransaction,
};
use tandem_replication::{ConsistencyToken, Position};
use tandem_tests::{
    Tandem,
    database::{disable_subscription, enable_subscription, until, until_command_is_at_rest},
    request::{after, create, item, reason, sale, strong},
    wire,
};
use tokio::{sync::Mutex, sync::MutexGuard, time::Instant};
use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt as _};

const GET: &str = "/sales.query.v1.SalesQueryService/GetTransaction";
const UPDATE: &str = "/sales.command.v1.SalesCommandService/UpdateTransaction";

/// Long enough for anything that should succeed.
const LONG: Duration = Duration::from_secs(30);

/// Some tests stop replication, and the others need it: one at a time.
async fn alone() -> (MutexGuard<'static, ()>, &'static Tandem) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    (ONE_AT_A_TIME.lock().await, Tandem::shared().await)
}

async fn created(tandem: &Tandem) -> CreateTransactionResponse {
    let asked = create(sale(1, vec![item("A", 1, "1.00")]));
    tandem.commands().create_transaction(asked).await.unwrap().into_inner()
}

async fn get(
    tandem: &Tandem,
    id: &str,
    consistency: Option<ReadConsistency>,
    deadline: Duration,
) -> Result<SalesTransaction, Status> {
    let asked = GetTransactionRequest { transaction_id: id.to_owned(), consistency };
    let answer: GetTransactionResponse = wire::call(tandem.query_address(), GET, &asked, deadline).await?;
    Ok(answer.transaction.unwrap())
}

fn at_most(staleness: Duration) -> Option<ReadConsistency> {
    let staleness = staleness.try_into().unwrap();
    Some(ReadConsistency { requirement: Some(Requirement::MaxStaleness(staleness)) })
}

/// The details of an UNAVAILABLE that says that the replica is behind.
fn behind(status: &Status) -> ErrorInfo {
    assert_eq!((status.code(), reason(status).as_str()), (Code::Unavailable, "REPLICA_BEHIND"), "{status:?}");
    assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    status.get_details_error_info().unwrap()
}

#[tokio::test]
async fn a_call_that_meets_a_lock_ends_at_its_deadline_and_so_does_its_statement() {
    let (_alone, tandem) = alone().await;
    let stored = created(tandem).await.transaction.unwrap();
    let (mut holder, mut admin) = (tandem.primary().await, tandem.primary().await);
    let mut lock = holder.begin().await.unwrap();
    sqlx::query("lock table sales.sales_transaction in access exclusive mode").execute(&mut *lock).await.unwrap();

    let transaction =
        SalesTransaction { store_id: 9, transaction_id: stored.transaction_id.clone(), ..Default::default() };
    let asked = UpdateTransactionRequest { transaction: Some(transaction), ..Default::default() };
    let begun = Instant::now();
    let answer = wire::call::<_, UpdateTransactionResponse>(
        tandem.command_address(),
        UPDATE,
        &asked,
        Duration::from_millis(400),
    );
    let status = answer.await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), "{status:?}");
    assert!(begun.elapsed() > Duration::from_millis(350), "it had until its deadline");

    // The lock is still held: only its own end takes the statement off the database.
    until_command_is_at_rest(&mut admin).await;
    lock.rollback().await.unwrap();
    let found = get(tandem, &stored.transaction_id, strong(), LONG).await.unwrap();
    assert_eq!(found, stored, "nothing was changed");
}

#[tokio::test]
async fn a_read_that_meets_a_lock_ends_at_its_deadline_and_its_statement_soon_after() {
    let (_alone, tandem) = alone().await;
    let stored = created(tandem).await.transaction.unwrap();
    get(tandem, &stored.transaction_id, strong(), LONG).await.unwrap();
    let (mut holder, mut admin) = (tandem.replica().await, tandem.replica().await);
    let mut lock = holder.begin().await.unwrap();
    sqlx::query("lock table sales.sales_item in access exclusive mode").execute(&mut *lock).await.unwrap();
    let status = get(tandem, &stored.transaction_id, None, Duration::from_millis(400)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), "{status:?}");
    // Nobody ends it but the server itself, which sees that its client has gone. The folder is not meant.
    let at_rest = "select not exists (
        select from pg_stat_activity
        where application_name = 'tandem-query' and wait_event_type = 'Lock' and query like '%as \"item_id?\"%'
    )";
    until(&mut admin, "the statement has ended", at_rest).await;
    lock.rollback().await.unwrap();
    assert_eq!(get(tandem, &stored.transaction_id, None, LONG).await.unwrap(), stored);
}

#[tokio::test]
async fn no_read_is_lost_when_every_connection_was_cut() {
    let (_alone, tandem) = alone().await;
    let stored = created(tandem).await.transaction.unwrap();
    get(tandem, &stored.transaction_id, strong(), LONG).await.unwrap();
    let mut admin = tandem.replica().await;
    for _ in 0..5 {
        let several = (0..8).map(|_| get(tandem, &stored.transaction_id, None, LONG));
        for answer in futures::future::join_all(several).await {
            assert_eq!(answer.unwrap(), stored);
        }
        let cut =
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'tandem-query'";
        let cut: i64 = sqlx::query_scalar(cut).fetch_one(&mut admin).await.unwrap();
        assert!(cut > 0);
        assert_eq!(get(tandem, &stored.transaction_id, None, LONG).await.unwrap(), stored);
    }
}

#[tokio::test]
async fn a_token_that_the_replica_does_not_reach_in_time_is_answered_with_the_lag() {
    let (_alone, tandem) = alone().await;
    let mut replica = tandem.replica().await;
    get(tandem, &created(tandem).await.transaction.unwrap().transaction_id, strong(), LONG).await.unwrap();
    disable_subscription(&mut replica).await;
    let response = created(tandem).await;
    let stored = response.transaction.unwrap();

    let begun = Instant::now();
    let asked = after(&response.consistency_token);
    let status = get(tandem, &stored.transaction_id, asked.clone(), Duration::from_millis(600)).await.unwrap_err();
    assert!(begun.elapsed() > Duration::from_millis(400), "it was waited for");
    let metadata = behind(&status).metadata;
    let token: ConsistencyToken = response.consistency_token.parse().unwrap();
    assert_eq!(metadata["wanted_lsn"], token.position().lsn.to_string());
    assert!(metadata["lag_bytes"].parse::<u64>().unwrap() > 0, "{metadata:?}");
    let reached: tandem_replication::Lsn = metadata["replica_lsn"].parse().unwrap();
    assert_eq!(token.position().lsn.bytes_since(reached).to_string(), metadata["lag_bytes"]);

    let stale = get(tandem, &stored.transaction_id, None, LONG).await.unwrap_err();
    assert_eq!(stale.code(), Code::NotFound, "who asks for nothing gets what there is");

    enable_subscription(&mut replica).await;
    assert_eq!(get(tandem, &stored.transaction_id, asked, LONG).await.unwrap(), stored);
}

#[tokio::test]
async fn a_replica_that_stands_still_is_too_stale_until_it_moves_again() {
    let (_alone, tandem) = alone().await;
    let mut replica = tandem.replica().await;
    let stored = created(tandem).await.transaction.unwrap();
    get(tandem, &stored.transaction_id, strong(), LONG).await.unwrap();
    disable_subscription(&mut replica).await;
    // Whatever it has is older than this once the first wait is over.
    let fresh = at_most(Duration::from_millis(300));
    let first = get(tandem, &stored.transaction_id, at_most(Duration::from_secs(3600)), LONG).await;
    assert_eq!(first.unwrap(), stored, "an hour is not over yet");
    created(tandem).await;
    let mut answers = Vec::new();
    while !answers.iter().any(Result::is_err) {
        answers.push(get(tandem, &stored.transaction_id, fresh.clone(), Duration::from_millis(500)).await);
        assert!(answers.len() < 1_000, "it never becomes stale");
    }
    let metadata = behind(&answers.pop().unwrap().unwrap_err()).metadata;
    assert!(metadata["staleness_seconds"].parse::<f64>().unwrap() > 0.3, "{metadata:?}");

    enable_subscription(&mut replica).await;
    assert_eq!(get(tandem, &stored.transaction_id, fresh, LONG).await.unwrap(), stored);
}

#[tokio::test]
async fn a_token_of_another_history_is_refused_at_once() {
    let (_alone, tandem) = alone().await;
    let response = created(tandem).await;
    let id = response.transaction.unwrap().transaction_id;
    let Position { identity, lsn } = response.consistency_token.parse::<ConsistencyToken>().unwrap().position();
    let (mut system, mut timeline) = (identity, identity);
    system.system_identifier ^= 1;
    // One from after a promotion would be waited for; one from before it is of no use any more.
    timeline.timeline -= 1;
    for (identity, expected) in [(system, "TOKEN_OF_ANOTHER_SYSTEM"), (timeline, "TOKEN_OF_ANOTHER_TIMELINE")] {
        let token = Position { identity, lsn }.token().to_string();
        let begun = Instant::now();
        let status = get(tandem, &id, after(&token), LONG).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, expected), "{status:?}");
        assert!(begun.elapsed() < LONG / 2, "waiting does not help");
    }
}

#[tokio::test]
async fn a_strong_read_sees_every_write_before_it_without_a_token() {
    let (_alone, tandem) = alone().await;
    for _ in 0..20 {
        let stored = created(tandem).await.transaction.unwrap();
        assert_eq!(get(tandem, &stored.transaction_id, strong(), LONG).await.unwrap(), stored);
    }
}
