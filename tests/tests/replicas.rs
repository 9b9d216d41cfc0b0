//! Two replicas of one primary, each with its own query service.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tandem_proto::sales::query::v1::{
    GetReplicationStatusRequest, GetReplicationStatusResponse, GetSummaryRequest, GetSummaryResponse,
    GetTransactionRequest, replication_service_client::ReplicationServiceClient,
    sales_query_service_client::SalesQueryServiceClient,
};
use tandem_replication::ConsistencyToken;
use tandem_tests::{
    Tandem, channel,
    database::{disable_subscription, enable_subscription},
    request::{after, create, in_store, item, range, reason, sale_at, within},
};
use tokio::sync::OnceCell;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use xtask::postgres::{ReplicaNumber, TestOptions};

/// Long enough for anything that should succeed.
const LONG: Duration = Duration::from_secs(20);
/// How long a reader waits for a replica that stands still.
const SHORT: Duration = Duration::from_millis(300);
/// A Monday.
const MONDAY: i64 = 1_767_571_200;

fn both() -> [ReplicaNumber; 2] {
    [1, 2].map(|number| ReplicaNumber::new(number).unwrap())
}

async fn start() -> Tandem {
    Tandem::start(TestOptions { further_replicas: 1, ..TestOptions::default() }).await.unwrap()
}

/// One for the tests that stop nothing.
async fn shared() -> &'static Tandem {
    static SHARED: OnceCell<Tandem> = OnceCell::const_new();
    SHARED.get_or_init(start).await
}

/// Stores a sale; its id and its token.
async fn store(tandem: &Tandem, store_id: i32) -> (String, String) {
    let time = prost_types::Timestamp { seconds: MONDAY, nanos: 0 };
    let asked = create(sale_at(time, store_id, vec![item("A", 1, "1.00")]));
    let stored = tandem.commands().create_transaction(asked).await.unwrap().into_inner();
    (stored.transaction.unwrap().transaction_id, stored.consistency_token)
}

/// The figures of a store from one replica, which must be as fresh as the token.
async fn summary(
    tandem: &Tandem,
    replica: ReplicaNumber,
    store_id: i32,
    token: &str,
    patience: Duration,
) -> Result<GetSummaryResponse, Status> {
    let consistency = if token.is_empty() { None } else { after(token) };
    let asked = GetSummaryRequest { range: range(MONDAY, MONDAY + 1), filter: in_store(store_id), consistency };
    let mut queries = SalesQueryServiceClient::new(channel(tandem.query_address_of(replica)));
    queries.get_summary(within(asked, patience)).await.map(tonic::Response::into_inner)
}

async fn status(tandem: &Tandem, replica: ReplicaNumber) -> GetReplicationStatusResponse {
    let mut replication = ReplicationServiceClient::new(channel(tandem.query_address_of(replica)));
    let asked = within(GetReplicationStatusRequest {}, LONG);
    replication.get_replication_status(asked).await.unwrap().into_inner()
}

fn position(token: &str) -> u64 {
    token.parse::<ConsistencyToken>().unwrap().position().lsn.as_u64()
}

#[tokio::test]
async fn the_token_of_a_write_holds_on_both_replicas_and_each_answer_says_who_gave_it() {
    let tandem = shared().await;
    for _ in 0..50 {
        let (transaction_id, token) = store(tandem, 1).await;
        for replica in both() {
            let asked = GetTransactionRequest { transaction_id: transaction_id.clone(), consistency: after(&token) };
            let mut queries = SalesQueryServiceClient::new(channel(tandem.query_address_of(replica)));
            let found = queries.get_transaction(within(asked, LONG)).await.unwrap().into_inner();
            assert_eq!(found.read_state.unwrap().replica_name, replica.name());
        }
    }
}

#[tokio::test]
async fn a_reader_that_carries_its_token_never_goes_back_whichever_replica_answers() {
    const STORE: i32 = 2;
    const ROUNDS: i64 = 10;
    let tandem = start().await;
    let [runs, stands] = both();
    let (_, mut carried) = store(&tandem, STORE).await;
    let mut seen = 0;
    for round in 0..2 * ROUNDS {
        let answer = summary(&tandem, both()[(round % 2) as usize], STORE, &carried, LONG).await.unwrap();
        assert!(answer.transactions >= seen.max(1), "{answer:?} after {seen}");
        let token = answer.read_state.unwrap().consistency_token;
        assert!(position(&token) >= position(&carried), "the token of an answer covers the one that was brought");
        (seen, carried) = (answer.transactions, token);
        store(&tandem, STORE).await;
    }
    let (_, last) = store(&tandem, STORE).await;
    let all = summary(&tandem, stands, STORE, &last, LONG).await.unwrap().transactions;

    let mut replica = PgConnection::connect(&tandem.pair.replica_of(stands).admin_url()).await.unwrap();
    disable_subscription(&mut replica).await;
    for round in 1..=ROUNDS {
        let (_, written) = store(&tandem, STORE).await;
        // What was written is seen where apply goes on, and the reader's token says so from then on.
        let answer = summary(&tandem, runs, STORE, &written, LONG).await.unwrap();
        assert_eq!(answer.transactions, all + round);
        carried = answer.read_state.unwrap().consistency_token;
        let behind = summary(&tandem, stands, STORE, &carried, SHORT).await.unwrap_err();
        assert_eq!((behind.code(), reason(&behind).as_str()), (Code::Unavailable, "REPLICA_BEHIND"), "{behind:?}");
        let told = behind.get_details_error_info().unwrap().metadata;
        assert_eq!(told["replica_name"], "replica-2");
        assert!(told["lag_bytes"].parse::<u64>().unwrap() > 0, "{told:?}");
        // Who brings no token is answered, and goes back: the token it is that keeps time from running backwards.
        let old = summary(&tandem, stands, STORE, "", LONG).await.unwrap();
        assert_eq!((old.transactions, old.read_state.unwrap().replica_name.as_str()), (all, "replica-2"));
    }
    let seen_by_the_other = status(&tandem, runs).await.replicas.remove(stands.index());
    assert!(!seen_by_the_other.slot.unwrap().active && seen_by_the_other.lag_bytes.unwrap() > 0);
    enable_subscription(&mut replica).await;
    let caught_up = summary(&tandem, stands, STORE, &carried, LONG).await.unwrap();
    assert_eq!(caught_up.transactions, all + ROUNDS);
}

#[tokio::test]
async fn the_status_of_each_replica_names_itself_and_lists_both() {
    let tandem = shared().await;
    store(tandem, 3).await;
    // Neither is a replica: what a subscription copies a table with, and what a verifier may hold for its session.
    let mut primary = tandem.primary().await;
    let others = "
        select pg_create_logical_replication_slot('pg_16500_sync_16400_7710472029013514094', 'pgoutput');
        select pg_create_logical_replication_slot('a_session', 'pgoutput', true);
    ";
    sqlx::raw_sql(others).execute(&mut primary).await.unwrap();
    for replica in both() {
        let status = status(tandem, replica).await;
        assert_eq!(status.replica_name, replica.name());
        assert_eq!(status.subscription.unwrap().name, replica.subscription());
        assert_eq!(status.slot.unwrap().name, replica.subscription());
        let listed: Vec<_> = status.replicas.iter().map(|listed| listed.slot.clone().unwrap().name).collect();
        assert_eq!(listed, both().map(ReplicaNumber::subscription), "both, whoever is asked");
        for (listed, number) in status.replicas.into_iter().zip(both()) {
            assert_eq!(listed.answered, number == replica, "{listed:?}");
            assert!(listed.lag_bytes.is_some_and(|bytes| bytes >= 0), "{listed:?}");
            assert!(listed.slot.is_some_and(|slot| slot.active && slot.retained_wal_bytes >= 0));
        }
    }
    let removed = "select pg_drop_replication_slot('pg_16500_sync_16400_7710472029013514094')";
    sqlx::raw_sql(removed).execute(&mut primary).await.unwrap();
}
