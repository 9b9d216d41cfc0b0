//! Each side says by itself whether it can work, survives the loss of its database, and does not care for the other's.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tandem_proto::sales::{
    command::v1::CreateTransactionResponse,
    query::v1::{GetReplicationStatusRequest, GetTransactionRequest, PrimaryState, ReadConsistency},
    v1::SalesTransaction,
};
use tandem_tests::{
    Tandem, health,
    request::{after, create, item, reason, sale, strong, within},
};
use tokio::sync::{Mutex, MutexGuard};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
use tonic_types::StatusExt as _;

/// The database is asked every second, for up to a second: three are enough on a machine that is not busy.
const NOTICED: Duration = Duration::from_secs(10);
/// A server that was killed recovers first.
const RECOVERED: Duration = Duration::from_secs(30);

const COMMANDS: &str = "sales.command.v1.SalesCommandService";
const QUERIES: [&str; 2] = ["sales.query.v1.SalesQueryService", "sales.query.v1.ReplicationService"];

/// Tests here kill the databases that they share, and leave them as they found them: one at a time.
async fn alone() -> (MutexGuard<'static, ()>, &'static Tandem) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let alone = ONE_AT_A_TIME.lock().await;
    let tandem = Tandem::shared().await;
    health::until(tandem.command_address(), "", Serving, NOTICED).await;
    for name in ["", QUERIES[0], QUERIES[1]] {
        health::until(tandem.query_address(), name, Serving, NOTICED).await;
    }
    (alone, tandem)
}

async fn created(tandem: &Tandem) -> Result<CreateTransactionResponse, Status> {
    let asked = create(sale(1, vec![item("A", 1, "1.00")]));
    Ok(tandem.commands().create_transaction(within(asked, RECOVERED)).await?.into_inner())
}

async fn get(tandem: &Tandem, id: &str, consistency: Option<ReadConsistency>) -> Result<SalesTransaction, Status> {
    let asked = within(GetTransactionRequest { transaction_id: id.to_owned(), consistency }, RECOVERED);
    Ok(tandem.queries().get_transaction(asked).await?.into_inner().transaction.unwrap())
}

fn assert_database_away(status: &Status) {
    let said = (status.code(), reason(status));
    assert_eq!(said, (Code::Unavailable, "DATABASE_UNAVAILABLE".to_owned()), "{status:?}");
    assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
}

#[tokio::test]
async fn health_names_the_process_and_each_of_its_services_and_no_other() {
    let (_alone, tandem) = alone().await;
    for name in ["", COMMANDS] {
        assert_eq!(health::check(tandem.command_address(), name).await.unwrap(), Serving, "{name:?}");
    }
    for name in ["", QUERIES[0], QUERIES[1]] {
        assert_eq!(health::check(tandem.query_address(), name).await.unwrap(), Serving, "{name:?}");
    }
    let of_the_other = health::check(tandem.query_address(), COMMANDS).await.unwrap_err();
    assert_eq!((of_the_other.code(), reason(&of_the_other).as_str()), (Code::NotFound, "NOT_FOUND"));
}

#[tokio::test]
async fn while_the_primary_is_gone_reads_go_on_and_commands_come_back_by_themselves() {
    let (_alone, tandem) = alone().await;
    let before = created(tandem).await.unwrap();
    let stored = before.transaction.unwrap();
    get(tandem, &stored.transaction_id, after(&before.consistency_token)).await.unwrap();

    tandem.pair.primary().kill().await.unwrap();
    for name in ["", COMMANDS] {
        health::until(tandem.command_address(), name, NotServing, NOTICED).await;
    }
    assert_database_away(&created(tandem).await.unwrap_err());
    for name in ["", QUERIES[0], QUERIES[1]] {
        assert_eq!(health::check(tandem.query_address(), name).await.unwrap(), Serving, "{name:?}");
    }
    assert_eq!(get(tandem, &stored.transaction_id, None).await.unwrap(), stored);
    assert_database_away(&get(tandem, &stored.transaction_id, strong()).await.unwrap_err());
    let status = tandem.replication().get_replication_status(GetReplicationStatusRequest {}).await.unwrap();
    assert_eq!(status.into_inner().primary_state(), PrimaryState::Unreachable);

    tandem.pair.primary().start().await.unwrap();
    health::until(tandem.command_address(), "", Serving, RECOVERED).await;
    let later = created(tandem).await.unwrap();
    let stored = later.transaction.unwrap();
    assert_eq!(get(tandem, &stored.transaction_id, after(&later.consistency_token)).await.unwrap(), stored);
}

#[tokio::test]
async fn while_the_replica_is_gone_commands_go_on_and_reads_come_back_with_all_of_them() {
    let (_alone, tandem) = alone().await;
    tandem.pair.replica().kill().await.unwrap();
    for name in ["", QUERIES[0], QUERIES[1]] {
        health::until(tandem.query_address(), name, NotServing, NOTICED).await;
    }
    assert_eq!(health::check(tandem.command_address(), "").await.unwrap(), Serving);
    let meanwhile = created(tandem).await.unwrap();
    let stored = meanwhile.transaction.unwrap();
    assert_database_away(&get(tandem, &stored.transaction_id, None).await.unwrap_err());

    tandem.pair.replica().start().await.unwrap();
    for name in ["", QUERIES[0], QUERIES[1]] {
        health::until(tandem.query_address(), name, Serving, RECOVERED).await;
    }
    let found = get(tandem, &stored.transaction_id, after(&meanwhile.consistency_token)).await.unwrap();
    assert_eq!(found, stored);
}
