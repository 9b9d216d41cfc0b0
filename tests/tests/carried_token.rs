//! The consistency token in the metadata of a call: a client library carries it, and its callers see nothing of it.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::time::Duration;

use tandem_proto::{
    agreed::CONSISTENCY_TOKEN,
    sales::{
        command::v1::CreateTransactionResponse,
        query::v1::{
            GetRevenueSeriesRequest, GetSummaryRequest, GetTransactionRequest, ListTopProductsRequest,
            ListTransactionsRequest, ReadConsistency,
        },
    },
};
use tandem_replication::{ConsistencyToken, Position};
use tandem_tests::{
    Tandem,
    database::{disable_subscription, enable_subscription},
    request::{after, at_most, create, item, reason, sale, strong, within, wrong_fields},
};
use tokio::sync::{Mutex, MutexGuard};
use tonic::{Code, Request, Status, metadata::MetadataMap};

/// Long enough for anything that should succeed.
const LONG: Duration = Duration::from_secs(20);
/// Long enough to find that the replica does not get there.
const SHORT: Duration = Duration::from_millis(800);

/// Some tests stop replication, and the others need it: one at a time.
async fn alone() -> (MutexGuard<'static, ()>, &'static Tandem) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    (ONE_AT_A_TIME.lock().await, Tandem::shared().await)
}

async fn created(tandem: &Tandem) -> CreateTransactionResponse {
    let asked = create(sale(1, vec![item("A", 1, "1.00")]));
    tandem.commands().create_transaction(asked).await.unwrap().into_inner()
}

fn carrying<M>(message: M, tokens: &[&str], deadline: Duration) -> Request<M> {
    let mut request = within(message, deadline);
    for token in tokens {
        request.metadata_mut().append(CONSISTENCY_TOKEN, token.parse().unwrap());
    }
    request
}

/// A sale by its id; gives the metadata of the answer.
async fn get(
    tandem: &Tandem,
    id: &str,
    consistency: Option<ReadConsistency>,
    tokens: &[&str],
    deadline: Duration,
) -> Result<MetadataMap, Status> {
    let asked = GetTransactionRequest { transaction_id: id.to_owned(), consistency };
    let answer = tandem.queries().get_transaction(carrying(asked, tokens, deadline)).await?;
    Ok(answer.metadata().clone())
}

/// What each RPC answers to a call without a message of its own that carries `token`.
async fn every_answer(tandem: &Tandem, id: &str, token: &str, deadline: Duration) -> Vec<Result<MetadataMap, Status>> {
    macro_rules! ask {
        ($method:ident, $message:expr) => {
            tandem
                .queries()
                .$method(carrying($message, &[token], deadline))
                .await
                .map(|answer| answer.metadata().clone())
        };
    }
    vec![
        ask!(get_transaction, GetTransactionRequest { transaction_id: id.to_owned(), consistency: None }),
        ask!(list_transactions, ListTransactionsRequest::default()),
        ask!(get_summary, GetSummaryRequest::default()),
        ask!(get_revenue_series, GetRevenueSeriesRequest::default()),
        ask!(list_top_products, ListTopProductsRequest::default()),
    ]
}

fn assert_behind<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "REPLICA_BEHIND"), "{status:?}");
}

fn position(token: &str) -> Position {
    token.parse::<ConsistencyToken>().unwrap().position()
}

#[tokio::test]
async fn every_query_covers_the_token_that_its_metadata_carries() {
    let (_alone, tandem) = alone().await;
    let mut replica = tandem.replica().await;
    disable_subscription(&mut replica).await;
    let stored = created(tandem).await;
    let (id, token) = (stored.transaction.unwrap().transaction_id, stored.consistency_token);
    for answer in every_answer(tandem, &id, &token, SHORT).await {
        assert_behind(answer);
    }
    enable_subscription(&mut replica).await;
    for answer in every_answer(tandem, &id, &token, LONG).await {
        let metadata = answer.unwrap();
        let of_the_answer = position(metadata.get(CONSISTENCY_TOKEN).unwrap().to_str().unwrap());
        assert!(of_the_answer.lsn >= position(&token).lsn, "it takes the place of the one that was carried");
    }
}

#[tokio::test]
async fn what_the_message_asks_and_what_the_metadata_carries_both_hold() {
    let (_alone, tandem) = alone().await;
    let earlier = created(tandem).await;
    let (id, old) = (earlier.transaction.unwrap().transaction_id, earlier.consistency_token);
    get(tandem, &id, None, &[&old], LONG).await.unwrap();
    let mut replica = tandem.replica().await;
    disable_subscription(&mut replica).await;
    let new = created(tandem).await.consistency_token;
    let hour = at_most(Duration::from_secs(3_600));
    get(tandem, &id, after(&old), &[&old], SHORT).await.unwrap();
    get(tandem, &id, hour.clone(), &[&old], SHORT).await.unwrap();
    for (asked, carried) in [
        (after(&old), [&*new].as_slice()),
        (after(&new), &[&old]),
        (hour, &[&new]),
        (strong(), &[&old]),
        (None, &[&old, &new]),
        (None, &[&format!("{new},{old}")]),
    ] {
        assert_behind(get(tandem, &id, asked, carried, SHORT).await);
    }
    enable_subscription(&mut replica).await;
    get(tandem, &id, after(&old), &[&new], LONG).await.unwrap();
}

#[tokio::test]
async fn what_is_no_token_is_refused_beside_what_is_wrong_with_the_message() {
    let (_alone, tandem) = alone().await;
    let field = format!("metadata.{CONSISTENCY_TOKEN}");
    let no_token = (field.clone(), "NOT_A_CONSISTENCY_TOKEN".to_owned());
    let token = created(tandem).await.consistency_token;
    for garbage in ["garbage", "", &token[1..], "%20"] {
        for answer in every_answer(tandem, "0199a1b2-6f00-7000-8000-000000000001", garbage, LONG).await {
            assert_eq!(wrong_fields(&answer.unwrap_err()), std::slice::from_ref(&no_token), "{garbage:?}");
        }
    }
    let status = get(tandem, "garbage", None, &["garbage"], LONG).await.unwrap_err();
    assert_eq!(wrong_fields(&status), [no_token, ("transaction_id".to_owned(), "NOT_A_UUID".to_owned())]);
    let many = [&*token; 17];
    let status = get(tandem, "0199a1b2-6f00-7000-8000-000000000001", None, &many, LONG).await.unwrap_err();
    assert_eq!(wrong_fields(&status), [(field, "TOO_MANY_VALUES".to_owned())]);
    let status = get(tandem, "0199a1b2-6f00-7000-8000-000000000001", None, &many[1..], LONG).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "sixteen are not too many");
}

#[tokio::test]
async fn a_token_of_another_history_is_refused_in_the_metadata_too() {
    let (_alone, tandem) = alone().await;
    let stored = created(tandem).await;
    let (id, token) = (stored.transaction.unwrap().transaction_id, stored.consistency_token);
    let Position { identity, lsn } = position(&token);
    let (mut system, mut timeline) = (identity, identity);
    system.system_identifier ^= 1;
    timeline.timeline -= 1;
    for (identity, expected) in [(system, "TOKEN_OF_ANOTHER_SYSTEM"), (timeline, "TOKEN_OF_ANOTHER_TIMELINE")] {
        let other = Position { identity, lsn }.token().to_string();
        for carried in [[&*other].as_slice(), &[&token, &other]] {
            let status = get(tandem, &id, after(&token), carried, LONG).await.unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, expected), "{status:?}");
        }
    }
}
