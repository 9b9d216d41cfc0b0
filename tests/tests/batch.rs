//! BatchCreateTransactions: many new sales, all of them or none.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use sqlx::Executor as _;
use tandem_proto::sales::{
    command::v1::{
        BatchCreateTransactionsRequest, BatchCreateTransactionsResponse, CreateTransactionRequest,
        DeleteTransactionRequest, UpdateTransactionRequest,
    },
    query::v1::{GetTransactionRequest, ListTransactionsRequest},
    v1::SalesTransaction,
};
use tandem_tests::{
    Tandem,
    request::{after, create, item, listed_in_store, reason, sale, wrong_fields},
};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use xtask::postgres::TestOptions;

/// As many as a batch takes.
const MOST: usize = 500;

fn sales(store_id: i32, count: usize) -> Vec<SalesTransaction> {
    let items = |number| vec![item(&format!("A-{number}"), 1, "1.00"), item("B", 2, "0.25")];
    (0..count).map(|number| sale(store_id, items(number))).collect()
}

fn batch(transactions: Vec<SalesTransaction>) -> BatchCreateTransactionsRequest {
    BatchCreateTransactionsRequest { transactions, request_id: Uuid::now_v7().to_string(), validate_only: false }
}

async fn send(
    tandem: &Tandem,
    asked: BatchCreateTransactionsRequest,
) -> Result<Response<BatchCreateTransactionsResponse>, Status> {
    tandem.commands().batch_create_transactions(asked).await
}

async fn stored(tandem: &Tandem, store_id: i32) -> i64 {
    sqlx::query_scalar("select count(*) from sales.sales_transaction where store_id = $1")
        .bind(store_id)
        .fetch_one(&mut tandem.primary().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_full_batch_is_stored_in_one_transaction_and_its_token_covers_it() {
    let tandem = Tandem::shared().await;
    let asked = batch(sales(7_001, MOST));
    let answer = send(tandem, asked.clone()).await.unwrap().into_inner();
    assert_eq!(answer.transactions.len(), MOST);
    for (asked, stored) in asked.transactions.iter().zip(&answer.transactions) {
        assert_eq!(asked.items[0].product_code, stored.items[0].product_code, "in the order of the request");
        assert_eq!((stored.etag.as_str(), stored.items.len()), ("v1", 2));
    }
    let transactions: i64 =
        sqlx::query_scalar("select count(distinct xmin::text) from sales.sales_transaction where store_id = 7001")
            .fetch_one(&mut tandem.primary().await)
            .await
            .unwrap();
    assert_eq!(transactions, 1);
    let last = answer.transactions.last().unwrap();
    let transaction_id = last.transaction_id.clone();
    let asked = GetTransactionRequest { transaction_id, consistency: after(&answer.consistency_token) };
    let found = tandem.queries().get_transaction(asked).await.unwrap().into_inner().transaction.unwrap();
    assert_eq!(&found, last);
}

#[tokio::test]
async fn a_retry_gets_the_first_answer_also_after_its_sales_were_changed_and_deleted() {
    let tandem = Tandem::shared().await;
    let asked = batch(sales(7_002, 3));
    let first = send(tandem, asked.clone()).await.unwrap();
    assert!(first.metadata().get("tandem-replayed").is_none());
    let first = first.into_inner().transactions;
    let mut commands = tandem.commands();
    let transaction_id = first[0].transaction_id.clone();
    commands
        .delete_transaction(DeleteTransactionRequest { transaction_id, ..DeleteTransactionRequest::default() })
        .await
        .unwrap();
    let changed = SalesTransaction { cashier_id: 99, ..first[1].clone() };
    let update = UpdateTransactionRequest {
        transaction: Some(changed),
        update_mask: Some(prost_types::FieldMask { paths: vec!["cashier_id".to_owned()] }),
        ..UpdateTransactionRequest::default()
    };
    commands.update_transaction(update).await.unwrap();

    let again = send(tandem, asked.clone()).await.unwrap();
    assert_eq!(again.metadata().get("tandem-replayed").unwrap(), "true");
    assert_eq!(again.into_inner().transactions, first);
    assert_eq!(stored(tandem, 7_002).await, 2, "nothing is stored twice");

    let mut altered = asked.clone();
    altered.transactions.pop();
    let status = send(tandem, altered).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "REQUEST_ID_REUSED"));
    let one = asked.transactions.into_iter().next();
    let single = CreateTransactionRequest { transaction: one, request_id: asked.request_id, validate_only: false };
    let status = commands.create_transaction(single).await.unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_REUSED", "another method is another command");
}

#[tokio::test]
async fn sixteen_callers_with_one_request_id_store_one_batch() {
    let tandem = Tandem::shared().await;
    let asked = batch(sales(7_003, 20));
    let calls = (0..16).map(|_| send(tandem, asked.clone()));
    let answers: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let replays = answers.iter().filter(|answer| answer.metadata().get("tandem-replayed").is_some()).count();
    assert_eq!(replays, 15);
    let first = &answers[0].get_ref().transactions;
    assert!(answers.iter().all(|answer| &answer.get_ref().transactions == first));
    assert_eq!(stored(tandem, 7_003).await, 20);
}

#[tokio::test]
async fn one_wrong_sale_is_named_by_its_index_and_nothing_is_stored() {
    let tandem = Tandem::shared().await;
    let mut wrong = sales(7_004, 20);
    wrong[17].items[1].quantity = 0;
    wrong[3].payment_method = "CASH".to_owned();
    let status = send(tandem, batch(wrong)).await.unwrap_err();
    let expected =
        [("transactions[17].items[1].quantity", "OUT_OF_RANGE"), ("transactions[3].payment_method", "NOT_A_CODE")];
    assert_eq!(wrong_fields(&status), expected.map(|(field, reason)| (field.to_owned(), reason.to_owned())));
    assert_eq!(stored(tandem, 7_004).await, 0);
}

#[tokio::test]
async fn a_batch_has_at_least_one_sale_and_at_most_500() {
    let tandem = Tandem::shared().await;
    for (count, reason) in [(0, "NO_SALES"), (MOST + 1, "TOO_MANY_SALES")] {
        let status = send(tandem, batch(sales(7_005, count))).await.unwrap_err();
        assert_eq!(wrong_fields(&status), [("transactions".to_owned(), reason.to_owned())]);
    }
    assert_eq!(stored(tandem, 7_005).await, 0);
}

#[tokio::test]
async fn validate_only_says_what_would_be_stored_and_stores_nothing() {
    let tandem = Tandem::shared().await;
    let asked = BatchCreateTransactionsRequest { validate_only: true, ..batch(sales(7_006, 5)) };
    let answer = send(tandem, asked.clone()).await.unwrap().into_inner();
    assert_eq!((answer.transactions.len(), answer.consistency_token.as_str()), (5, ""));
    assert_eq!(answer.transactions[4].total_amount, Some(tandem_tests::request::usd("1.50")));
    assert_eq!(stored(tandem, 7_006).await, 0);
    let real = BatchCreateTransactionsRequest { validate_only: false, ..asked };
    let answer = send(tandem, real).await.unwrap();
    assert!(answer.metadata().get("tandem-replayed").is_none(), "the request id was not used up");
}

#[tokio::test]
async fn a_sale_that_only_the_database_refuses_is_named_and_hurts_no_neighbour() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let mut admin = tandem.primary().await;
    // A rule that the service does not know of, and one that it would have kept.
    admin
        .execute(
            "alter table sales.sales_transaction add constraint of_the_test check (store_id <> 666);
            alter table sales.sales_item drop constraint sales_item_quantity_check;
            alter table sales.sales_item add constraint sales_item_quantity_check check (quantity < 100)",
        )
        .await
        .unwrap();
    for index in [0, 317, MOST - 1] {
        for validate_only in [false, true] {
            let mut unknown = sales(1, MOST);
            unknown[index].store_id = 666;
            let asked = BatchCreateTransactionsRequest { validate_only, ..batch(unknown) };
            let mut known = sales(1, MOST);
            known[index].items[1].quantity = 100;
            let neighbours = futures::future::join_all((0..20).map(|_| {
                let mut commands = tandem.commands();
                async move { commands.create_transaction(create(sale(2, vec![item("A", 1, "1.00")]))).await }
            }));
            let (refused, refused_field, neighbours) =
                tokio::join!(send(&tandem, asked), send(&tandem, batch(known)), neighbours);
            let status = refused.unwrap_err();
            let element = format!("transactions[{index}]");
            assert!(status.message().starts_with(&element), "{status:?}");
            let named = status.get_details_bad_request().unwrap().field_violations;
            assert_eq!(named[0].field, element);
            let field = format!("{element}.item.quantity");
            assert_eq!(wrong_fields(&refused_field.unwrap_err()), [(field, "REFUSED_BY_DATABASE".to_owned())]);
            assert!(neighbours.iter().all(Result::is_ok), "{neighbours:?}");
        }
    }
    assert_eq!((stored(&tandem, 1).await, stored(&tandem, 2).await), (0, 120));
    let listed = ListTransactionsRequest { filter: listed_in_store(1), ..ListTransactionsRequest::default() };
    assert!(tandem.queries().list_transactions(listed).await.unwrap().into_inner().transactions.is_empty());
}
