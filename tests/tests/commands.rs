//! What a caller of the command service can rely on.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use sqlx::PgConnection;
use tandem_proto::sales::{
    command::v1::{
        AddItemRequest, CreateTransactionRequest, CreateTransactionResponse, DeleteItemRequest,
        DeleteTransactionRequest, UpdateItemRequest, UpdateTransactionRequest,
    },
    query::v1::GetTransactionRequest,
    v1::{SalesItem, SalesTransaction},
};
use tandem_tests::{
    Tandem,
    request::{after, create, discounted, item, reason, sale, usd, wrong_fields},
};
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;

async fn created(tandem: &Tandem, sale: SalesTransaction) -> CreateTransactionResponse {
    tandem.commands().create_transaction(create(sale)).await.unwrap().into_inner()
}

/// Creates a sale of two items in store 1.
async fn some_sale(tandem: &Tandem) -> SalesTransaction {
    let items = vec![item("A", 2, "3.50"), discounted("B", 1, "5.00", "1.25")];
    created(tandem, sale(1, items)).await.transaction.unwrap()
}

/// What the query service shows once it has seen the write of `token`.
async fn replicated(tandem: &Tandem, transaction_id: &str, token: &str) -> Result<SalesTransaction, tonic::Status> {
    let asked = GetTransactionRequest { transaction_id: transaction_id.to_owned(), consistency: after(token) };
    Ok(tandem.queries().get_transaction(asked).await?.into_inner().transaction.unwrap())
}

fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() })
}

async fn count(connection: &mut PgConnection, sql: &'static str, id: &str) -> i64 {
    sqlx::query_scalar(sql).bind(id.parse::<Uuid>().unwrap()).fetch_one(connection).await.unwrap()
}

const SALES: &str = "select count(*) from sales.sales_transaction where transaction_id = $1";
const ITEMS: &str = "select count(*) from sales.sales_item where transaction_id = $1";

#[tokio::test]
async fn a_created_sale_is_on_the_replica_as_it_was_answered() {
    let tandem = Tandem::shared().await;
    let mut asked = sale(1, vec![item("A", 2, "3.50"), discounted("B", 1, "5.00", "1.25")]);
    asked.customer_id = Some(77);
    let response = created(tandem, asked).await;
    let answered = response.transaction.unwrap();
    assert_eq!(answered.total_amount, Some(usd("10.75")));
    assert_eq!(answered.total_discount, Some(usd("1.25")));
    assert_eq!(answered.items[1].total_price, Some(usd("3.75")));
    assert_eq!((response.etag.as_str(), answered.etag.as_str()), ("v1", "v1"));
    let found = replicated(tandem, &answered.transaction_id, &response.consistency_token).await.unwrap();
    assert_eq!(found, answered);
}

#[tokio::test]
async fn totals_that_the_caller_expects_are_taken_only_when_they_agree() {
    let tandem = Tandem::shared().await;
    let mut right = sale(1, vec![discounted("A", 3, "2.00", "0.50")]);
    right.items[0].total_price = Some(usd("5.50"));
    right.total_amount = Some(usd("5.50"));
    right.total_discount = Some(usd("0.50"));
    let mut wrong = right.clone();
    created(tandem, right).await;
    wrong.total_amount = Some(usd("6.00"));
    wrong.total_discount = Some(usd("0.00"));
    let refused = tandem.commands().create_transaction(create(wrong)).await.unwrap_err();
    let fields = ["transaction.total_amount", "transaction.total_discount"];
    assert_eq!(wrong_fields(&refused), fields.map(|field| (field.to_owned(), "DISAGREES".to_owned())));
}

#[tokio::test]
async fn an_update_changes_the_fields_of_the_mask_and_no_others() {
    let tandem = Tandem::shared().await;
    let before = some_sale(tandem).await;
    let asked = UpdateTransactionRequest {
        transaction: Some(SalesTransaction {
            transaction_id: before.transaction_id.clone(),
            store_id: 9,
            cashier_id: 9,
            payment_method: "ignored".to_owned(),
            ..SalesTransaction::default()
        }),
        update_mask: mask(&["store_id"]),
        ..UpdateTransactionRequest::default()
    };
    let response = tandem.commands().update_transaction(asked).await.unwrap().into_inner();
    let after = response.transaction.unwrap();
    let expected = SalesTransaction { store_id: 9, etag: "v2".to_owned(), updated_at: after.updated_at, ..before };
    assert_eq!(after, expected);
    assert!(after.updated_at.unwrap().nanos % 1000 == 0, "an answer shows what is stored");
    assert_eq!(replicated(tandem, &after.transaction_id, &response.consistency_token).await.unwrap(), after);
}

#[tokio::test]
async fn an_update_without_a_mask_changes_the_fields_that_are_set() {
    let tandem = Tandem::shared().await;
    let before = some_sale(tandem).await;
    let transaction = SalesTransaction {
        transaction_id: before.transaction_id.clone(),
        payment_method: "qris".to_owned(),
        customer_id: Some(5),
        ..SalesTransaction::default()
    };
    let asked = UpdateTransactionRequest { transaction: Some(transaction), ..Default::default() };
    let after = tandem.commands().update_transaction(asked).await.unwrap().into_inner().transaction.unwrap();
    assert_eq!((after.payment_method.as_str(), after.customer_id), ("qris", Some(5)));
    assert_eq!((after.store_id, &after.items), (before.store_id, &before.items));
}

#[tokio::test]
async fn a_mask_clears_what_may_be_absent_and_refuses_to_clear_the_rest() {
    let tandem = Tandem::shared().await;
    let mut asked = sale(1, vec![item("A", 1, "1.00")]);
    asked.customer_id = Some(5);
    let id = created(tandem, asked).await.transaction.unwrap().transaction_id;
    let update = |paths: &[&str]| UpdateTransactionRequest {
        transaction: Some(SalesTransaction { transaction_id: id.clone(), ..SalesTransaction::default() }),
        update_mask: mask(paths),
        ..UpdateTransactionRequest::default()
    };
    let mut commands = tandem.commands();
    let cleared = commands.update_transaction(update(&["customer_id"])).await.unwrap().into_inner();
    assert_eq!(cleared.transaction.unwrap().customer_id, None);
    let refused = commands.update_transaction(update(&["store_id", "payment_method", "items"])).await.unwrap_err();
    let fields: Vec<_> = wrong_fields(&refused).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["transaction.items", "transaction.payment_method", "transaction.store_id"]);
    let unknown = commands.update_transaction(update(&["created_at"])).await.unwrap_err();
    assert_eq!(wrong_fields(&unknown), [("update_mask".to_owned(), "UNKNOWN_PATH".to_owned())]);
    let nothing = commands.update_transaction(update(&[])).await.unwrap_err();
    assert_eq!(wrong_fields(&nothing), [("update_mask".to_owned(), "NOTHING_TO_CHANGE".to_owned())]);
}

#[tokio::test]
async fn items_are_replaced_whole_and_totals_follow_them_on_both_sides() {
    let tandem = Tandem::shared().await;
    let before = some_sale(tandem).await;
    let asked = UpdateTransactionRequest {
        transaction: Some(SalesTransaction {
            transaction_id: before.transaction_id.clone(),
            items: vec![discounted("C", 10, "0.99", "0.90")],
            ..SalesTransaction::default()
        }),
        update_mask: mask(&["items"]),
        ..UpdateTransactionRequest::default()
    };
    let response = tandem.commands().update_transaction(asked).await.unwrap().into_inner();
    let after = response.transaction.unwrap();
    assert_eq!((after.total_amount.clone(), after.total_discount.clone()), (Some(usd("9.00")), Some(usd("0.90"))));
    assert_eq!(replicated(tandem, &after.transaction_id, &response.consistency_token).await.unwrap(), after);
    for mut side in [tandem.primary().await, tandem.replica().await] {
        assert_eq!(count(&mut side, ITEMS, &after.transaction_id).await, 1);
    }
}

#[tokio::test]
async fn items_can_be_added_changed_and_taken_off_one_by_one() {
    let tandem = Tandem::shared().await;
    let mut commands = tandem.commands();
    let before = some_sale(tandem).await;
    let transaction_id = before.transaction_id.clone();

    let add = AddItemRequest {
        transaction_id: transaction_id.clone(),
        item: Some(item("C", 1, "0.25")),
        ..Default::default()
    };
    let added = commands.add_item(add).await.unwrap().into_inner().transaction.unwrap();
    assert_eq!(added.items.iter().map(|item| item.product_code.as_str()).collect::<Vec<_>>(), ["A", "B", "C"]);
    assert_eq!(added.total_amount, Some(usd("11.00")));

    let changed = SalesItem { item_id: added.items[0].item_id.clone(), quantity: 4, ..SalesItem::default() };
    let update = UpdateItemRequest {
        transaction_id: transaction_id.clone(),
        item: Some(changed),
        update_mask: mask(&["quantity"]),
        ..Default::default()
    };
    let updated = commands.update_item(update).await.unwrap().into_inner().transaction.unwrap();
    assert_eq!((updated.items[0].quantity, updated.items[0].total_price.clone()), (4, Some(usd("14.00"))));
    assert_eq!(updated.items[0].product_name, before.items[0].product_name);
    assert_eq!(updated.total_amount, Some(usd("18.00")));

    let item_id = updated.items[1].item_id.clone();
    let delete = DeleteItemRequest { transaction_id: transaction_id.clone(), item_id, ..Default::default() };
    let response = commands.delete_item(delete).await.unwrap().into_inner();
    let left = response.transaction.unwrap();
    assert_eq!((left.items.len(), left.total_amount.clone(), left.etag.as_str()), (2, Some(usd("14.25")), "v4"));
    assert_eq!(left.total_discount, Some(usd("0.00")));
    assert_eq!(replicated(tandem, &transaction_id, &response.consistency_token).await.unwrap(), left);
}

#[tokio::test]
async fn a_changed_item_must_be_right_together_with_what_is_stored() {
    let tandem = Tandem::shared().await;
    let before = some_sale(tandem).await;
    let changed =
        SalesItem { item_id: before.items[1].item_id.clone(), unit_price: Some(usd("1.00")), ..Default::default() };
    let update = UpdateItemRequest { transaction_id: before.transaction_id, item: Some(changed), ..Default::default() };
    let refused = tandem.commands().update_item(update).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), [("item.discount".to_owned(), "DISCOUNT_ABOVE_LINE".to_owned())]);
}

#[tokio::test]
async fn the_last_item_of_a_sale_cannot_be_taken_off() {
    let tandem = Tandem::shared().await;
    let sale = created(tandem, sale(1, vec![item("A", 1, "1.00")])).await.transaction.unwrap();
    let item_id = sale.items[0].item_id.clone();
    let delete = DeleteItemRequest { transaction_id: sale.transaction_id, item_id, ..Default::default() };
    let refused = tandem.commands().delete_item(delete).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "LAST_ITEM"));
    assert!(refused.get_details_precondition_failure().is_some());
}

#[tokio::test]
async fn deleting_a_sale_takes_its_items_on_both_sides() {
    let tandem = Tandem::shared().await;
    let id = some_sale(tandem).await.transaction_id;
    let delete = DeleteTransactionRequest { transaction_id: id.clone(), ..Default::default() };
    let deleted = tandem.commands().delete_transaction(delete.clone()).await.unwrap().into_inner();
    assert_eq!((deleted.transaction_id.as_str(), deleted.etag.as_str()), (id.as_str(), "v1"));
    let gone = replicated(tandem, &id, &deleted.consistency_token).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    for mut side in [tandem.primary().await, tandem.replica().await] {
        assert_eq!(count(&mut side, SALES, &id).await, 0);
        assert_eq!(count(&mut side, ITEMS, &id).await, 0);
    }
    let again = tandem.commands().delete_transaction(delete).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (Code::NotFound, "NOT_FOUND"));
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_named() {
    let tandem = Tandem::shared().await;
    let sale = some_sale(tandem).await;
    let nobody = Uuid::now_v7().to_string();
    let delete = DeleteItemRequest {
        transaction_id: sale.transaction_id.clone(),
        item_id: nobody.clone(),
        ..Default::default()
    };
    let no_item = tandem.commands().delete_item(delete).await.unwrap_err();
    let add = AddItemRequest { transaction_id: nobody.clone(), item: Some(item("A", 1, "1.00")), ..Default::default() };
    let no_sale = tandem.commands().add_item(add).await.unwrap_err();
    for (status, kind) in [(no_item, "sales.v1.SalesItem"), (no_sale, "sales.v1.SalesTransaction")] {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NOT_FOUND"));
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!((resource.resource_type.as_str(), resource.resource_name.as_str()), (kind, nobody.as_str()));
    }
}

#[tokio::test]
async fn an_etag_of_another_version_is_refused_and_the_stored_one_is_told() {
    let tandem = Tandem::shared().await;
    let mut commands = tandem.commands();
    let before = some_sale(tandem).await;
    let update = |store_id, etag: &str| UpdateTransactionRequest {
        transaction: Some(SalesTransaction {
            transaction_id: before.transaction_id.clone(),
            store_id,
            etag: etag.to_owned(),
            ..SalesTransaction::default()
        }),
        ..UpdateTransactionRequest::default()
    };
    commands.update_transaction(update(2, "v1")).await.unwrap();
    let refused = commands.update_transaction(update(3, "v1")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    assert_eq!(refused.get_details_error_info().unwrap().metadata["current_etag"], "v2");
    let delete = |etag: &str| DeleteTransactionRequest {
        transaction_id: before.transaction_id.clone(),
        etag: etag.to_owned(),
        ..Default::default()
    };
    assert_eq!(commands.delete_transaction(delete("v1")).await.unwrap_err().code(), Code::Aborted);
    commands.delete_transaction(delete("v2")).await.unwrap();
}

#[tokio::test]
async fn concurrent_conditional_updates_of_one_sale_lose_nothing() {
    const CALLERS: i32 = 20;
    let tandem = Tandem::shared().await;
    let before = some_sale(tandem).await;
    let update = |store_id| {
        let transaction = SalesTransaction {
            transaction_id: before.transaction_id.clone(),
            store_id,
            etag: "v1".to_owned(),
            ..SalesTransaction::default()
        };
        let mut commands = tandem.commands();
        tokio::spawn(async move {
            let asked = UpdateTransactionRequest { transaction: Some(transaction), ..Default::default() };
            commands.update_transaction(asked).await
        })
    };
    let calls: Vec<_> = (2..2 + CALLERS).map(update).collect();
    let mut winners = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => winners += 1,
            Err(status) => assert_eq!(reason(&status), "ETAG_MISMATCH"),
        }
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn a_retry_with_the_same_request_id_gets_the_first_answer_and_writes_nothing() {
    let tandem = Tandem::shared().await;
    let mut commands = tandem.commands();
    let asked = CreateTransactionRequest {
        request_id: Uuid::now_v7().to_string(),
        ..create(sale(1, vec![item("A", 1, "1.00")]))
    };
    let first = commands.create_transaction(asked.clone()).await.unwrap();
    assert!(first.metadata().get("tandem-replayed").is_none());
    let first = first.into_inner().transaction.unwrap();
    let delete = DeleteTransactionRequest { transaction_id: first.transaction_id.clone(), ..Default::default() };
    commands.delete_transaction(delete).await.unwrap();

    let second = commands.create_transaction(asked.clone()).await.unwrap();
    assert_eq!(second.metadata().get("tandem-replayed").unwrap(), "true");
    assert_eq!(second.into_inner().transaction.unwrap(), first);
    assert_eq!(count(&mut tandem.primary().await, SALES, &first.transaction_id).await, 0);

    let mut other = asked;
    other.transaction.as_mut().unwrap().store_id = 2;
    let refused = commands.create_transaction(other).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "REQUEST_ID_REUSED"));
}

#[tokio::test]
async fn validate_only_answers_and_writes_nothing_not_even_the_request_id() {
    let tandem = Tandem::shared().await;
    let mut commands = tandem.commands();
    let mut asked = CreateTransactionRequest {
        request_id: Uuid::now_v7().to_string(),
        validate_only: true,
        ..create(sale(1, vec![item("A", 2, "1.00")]))
    };
    let rehearsed = commands.create_transaction(asked.clone()).await.unwrap().into_inner();
    let provisional = rehearsed.transaction.unwrap();
    assert_eq!((provisional.total_amount, rehearsed.consistency_token.as_str()), (Some(usd("2.00")), ""));
    assert_eq!(count(&mut tandem.primary().await, SALES, &provisional.transaction_id).await, 0);
    asked.validate_only = false;
    let real = commands.create_transaction(asked).await.unwrap();
    assert!(real.metadata().get("tandem-replayed").is_none());
}

#[tokio::test]
async fn every_stored_header_agrees_with_its_items_on_both_sides() {
    let tandem = Tandem::shared().await;
    let response = created(tandem, sale(1, vec![item("A", 3, "0.33"), discounted("B", 7, "1.99", "0.01")])).await;
    let id = response.transaction.unwrap().transaction_id;
    replicated(tandem, &id, &response.consistency_token).await.unwrap();
    let disagreeing = "
        select count(*)
        from sales.sales_transaction as sale
        left join (
            select transaction_id, sum(total_price) as amount, sum(discount) as discount
            from sales.sales_item
            group by transaction_id
        ) as item on item.transaction_id = sale.transaction_id
        where (sale.total_amount, sale.total_discount) is distinct from (item.amount, item.discount)
    ";
    for mut side in [tandem.primary().await, tandem.replica().await] {
        let wrong: i64 = sqlx::query_scalar(disagreeing).fetch_one(&mut side).await.unwrap();
        assert_eq!(wrong, 0);
    }
}
