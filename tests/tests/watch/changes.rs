//! What is told of which change.

use std::time::Duration;

use tandem_proto::sales::{
    command::v1::{DeleteTransactionRequest, UpdateTransactionRequest},
    query::v1::{ChangeKind, TransactionFilter, WatchSummaryRequest, WatchTransactionsRequest},
    v1::SalesTransaction,
};
use tandem_query::domain::WatchToken;
use tandem_tests::{
    Tandem,
    request::{create, item, listed_in_store, reason, sale, within, wrong_fields},
};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};
use xtask::postgres::TestOptions;

use super::stream::Stream;

async fn moved(tandem: &Tandem, id: &str, store_id: i32) {
    let transaction = SalesTransaction { transaction_id: id.to_owned(), store_id, ..SalesTransaction::default() };
    let message = UpdateTransactionRequest {
        transaction: Some(transaction),
        update_mask: Some(prost_types::FieldMask { paths: vec!["store_id".to_owned()] }),
        ..UpdateTransactionRequest::default()
    };
    tandem.commands().update_transaction(message).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_sale_is_told_once_and_in_order_through_the_filter() {
    let tandem = Tandem::shared().await;
    let mut all = Stream::open(tandem.queries(), None, "").await.unwrap();
    let mut here = Stream::open(tandem.queries(), listed_in_store(8101), "").await.unwrap();
    let mut there = Stream::open(tandem.queries(), listed_in_store(8102), "").await.unwrap();

    let asked = create(sale(8101, vec![item("A", 2, "1.50"), item("B", 1, "4.00")]));
    let made = tandem.commands().create_transaction(asked).await.unwrap().into_inner();
    let made = made.transaction.unwrap();
    let id = made.transaction_id.clone();
    assert_eq!(here.change().await.unwrap(), (ChangeKind::Created, made.clone()));

    moved(tandem, &id, 8102).await;
    assert_eq!(here.change().await.unwrap(), (ChangeKind::Left, made.clone()));
    let (kind, entered) = there.change().await.unwrap();
    assert_eq!((kind, entered.store_id, &entered.items), (ChangeKind::Entered, 8102, &made.items));
    assert_ne!(entered.etag, made.etag);

    moved(tandem, &id, 8102).await;
    moved(tandem, &id, 8101).await;
    assert_eq!(there.change().await.unwrap().0, ChangeKind::Left);
    let (kind, back) = here.change().await.unwrap();
    assert_eq!((kind, back.store_id), (ChangeKind::Entered, 8101));

    let gone = DeleteTransactionRequest { transaction_id: id.clone(), ..DeleteTransactionRequest::default() };
    tandem.commands().delete_transaction(gone).await.unwrap();
    assert_eq!(here.change().await.unwrap(), (ChangeKind::Deleted, back));

    let mut kinds = Vec::new();
    while kinds.last() != Some(&ChangeKind::Deleted) {
        let (kind, sale) = all.change().await.unwrap();
        // Neighbours have sales of their own.
        if sale.transaction_id == id {
            kinds.push(kind);
        }
    }
    let (first, rest) = kinds.split_first().unwrap();
    assert_eq!(*first, ChangeKind::Created);
    assert!(rest[..rest.len() - 1].iter().all(|kind| *kind == ChangeKind::Updated), "{kinds:?}");
}

async fn refused(tandem: &Tandem, token: &str) -> Status {
    Stream::open(tandem.queries(), None, token).await.err().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_none_or_of_another_replica_are_refused() {
    let tandem = Tandem::shared().await;
    let wrong = vec![("resume_token".to_owned(), "NOT_A_RESUME_TOKEN".to_owned())];
    assert_eq!(wrong_fields(&refused(tandem, "AAAA").await), wrong);

    let token = Stream::open(tandem.queries(), None, "").await.unwrap().token;
    let token: WatchToken = token.parse().unwrap();
    let mut elsewhere = token;
    elsewhere.replica.system_identifier += 1;
    let mut restored = token;
    restored.replica.timeline += 1;
    let mut ahead = token;
    ahead.position.until_xid += 1_000_000;
    for token in [elsewhere, restored, ahead] {
        let status = refused(tandem, &token.to_string()).await;
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        assert_eq!(reason(&status), "WATCH_TOKEN_OF_ANOTHER_REPLICA");
    }
    let filter = Some(TransactionFilter { store_ids: vec![0], ..TransactionFilter::default() });
    let status = Stream::open(tandem.queries(), filter, "").await.err().unwrap();
    assert_eq!(wrong_fields(&status), [("filter.store_ids[0]".to_owned(), "OUT_OF_RANGE".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_the_default_deadline_and_not_the_callers_own() {
    let tandem = Tandem::shared().await;
    let mut lasting = Stream::open(tandem.queries(), listed_in_store(8103), "").await.unwrap();
    let began = Instant::now();
    let request = within(WatchTransactionsRequest::default(), Duration::from_secs(3));
    let mut short = tandem.queries().watch_transactions(request).await.unwrap().into_inner();
    let status = loop {
        assert!(began.elapsed() < Duration::from_secs(20), "it goes on beyond the caller's deadline");
        if let Err(status) = short.message().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // Heartbeats come every 5 seconds: the third is behind the default deadline of 10.
    for _ in 0..3 {
        lasting.message().await.unwrap();
    }
    assert!(began.elapsed() > Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sales_removed_at_once_end_the_streams_and_their_tokens() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let mut stream = Stream::open(tandem.queries(), None, "").await.unwrap();
    let asked = create(sale(1, vec![item("A", 1, "1.00")]));
    tandem.commands().create_transaction(asked.clone()).await.unwrap();
    stream.change().await.unwrap();
    sqlx::query("truncate sales.sales_transaction cascade").execute(&mut tandem.primary().await).await.unwrap();
    let status = stream.change().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "TRUNCATED"), "{status:?}");
    let status = refused(&tandem, &stream.token).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "TRUNCATED"), "{status:?}");
    let mut anew = Stream::open(tandem.queries(), None, "").await.unwrap();
    tandem.commands().create_transaction(asked).await.unwrap();
    assert_eq!(anew.change().await.unwrap().0, ChangeKind::Created);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_at_once_when_the_service_does() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let mut stream = Stream::open(tandem.queries(), None, "").await.unwrap();
    let asked = WatchSummaryRequest::default();
    let mut summary = tandem.queries().watch_summary(asked).await.unwrap().into_inner();
    summary.message().await.unwrap().unwrap();
    let began = Instant::now();
    tandem.shut_down();
    let changes = timeout(Duration::from_secs(20), stream.change()).await.unwrap().unwrap_err();
    let figures = timeout(Duration::from_secs(20), summary.message()).await.unwrap().unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for status in [changes, figures] {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SHUTTING_DOWN"), "{status:?}");
    }
}
