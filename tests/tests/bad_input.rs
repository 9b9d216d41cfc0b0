//! Bad input gets one violation for each wrong field, and nothing of it is stored.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::time::Duration;

use prost_types::Timestamp;
use tandem_proto::{
    google::r#type::Money,
    sales::{
        command::v1::DeleteTransactionRequest,
        query::v1::{
            GetSummaryRequest, GetTransactionRequest, ListTopProductsRequest, ListTransactionsRequest, ReadConsistency,
            TransactionFilter, read_consistency::Requirement,
        },
        v1::{SalesItem, SalesTransaction},
    },
};
use tandem_tests::{
    Tandem,
    request::{after, at_most, create, discounted, item, range, sale, usd, wrong_fields},
};

type Fields = Vec<(String, String)>;

fn fields(expected: &[(&str, &str)]) -> Fields {
    expected.iter().map(|&(field, reason)| (field.to_owned(), reason.to_owned())).collect()
}

async fn refused(sale: SalesTransaction) -> Fields {
    let tandem = Tandem::shared().await;
    wrong_fields(&tandem.commands().create_transaction(create(sale)).await.unwrap_err())
}

/// A sale of one good item that `spoil` has changed.
async fn refused_item(spoil: impl FnOnce(&mut SalesItem)) -> Fields {
    let mut good = item("A", 1, "1.00");
    spoil(&mut good);
    refused(sale(1, vec![good])).await
}

/// A good sale that `spoil` has changed.
async fn refused_sale(spoil: impl FnOnce(&mut SalesTransaction)) -> Fields {
    let mut good = sale(1, vec![item("A", 1, "1.00")]);
    spoil(&mut good);
    refused(good).await
}

fn money(currency: &str, units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: currency.to_owned(), units, nanos })
}

#[tokio::test]
async fn a_sale_has_1_to_500_items() {
    assert_eq!(refused(sale(1, vec![])).await, fields(&[("transaction.items", "NO_ITEMS")]));
    let many = vec![item("A", 1, "1.00"); 501];
    assert_eq!(refused(sale(1, many)).await, fields(&[("transaction.items", "TOO_MANY_ITEMS")]));
    let tandem = Tandem::shared().await;
    let most = create(sale(1, vec![item("A", 1, "1.00"); 500]));
    let stored = tandem.commands().create_transaction(most).await.unwrap().into_inner();
    assert_eq!(stored.transaction.unwrap().items.len(), 500);
}

#[tokio::test]
async fn quantities_are_at_least_one_and_bounded() {
    for quantity in [0, -1, 1_000_001, i32::MAX, i32::MIN] {
        let wrong = refused_item(|item| item.quantity = quantity).await;
        assert_eq!(wrong, fields(&[("transaction.items[0].quantity", "OUT_OF_RANGE")]), "{quantity}");
    }
}

#[tokio::test]
async fn prices_are_exact_and_not_negative_and_in_the_one_currency() {
    let cases = [
        (None, "REQUIRED"),
        (money("USD", -1, 0), "NEGATIVE"),
        (money("EUR", 1, 0), "WRONG_CURRENCY"),
        (money("", 1, 0), "WRONG_CURRENCY"),
        (money("USD", 1, 5_000_000), "TOO_MANY_DECIMALS"),
        (money("USD", 1, 1), "TOO_MANY_DECIMALS"),
        (money("USD", 1, -10_000_000), "MALFORMED_MONEY"),
        (money("USD", 0, 1_000_000_000), "MALFORMED_MONEY"),
        (money("USD", 100_000_000, 0), "TOO_LARGE"),
        (money("USD", i64::MAX, 0), "TOO_LARGE"),
        (money("USD", i64::MIN, 0), "NEGATIVE"),
    ];
    for (price, reason) in cases {
        let wrong = refused_item(|item| item.unit_price = price.clone()).await;
        assert_eq!(wrong, fields(&[("transaction.items[0].unit_price", reason)]), "{price:?}");
    }
}

#[tokio::test]
async fn a_discount_is_not_above_its_line_and_sums_are_amounts() {
    let above = refused(sale(1, vec![discounted("A", 2, "1.00", "2.01")])).await;
    assert_eq!(above, fields(&[("transaction.items[0].discount", "DISCOUNT_ABOVE_LINE")]));
    let huge_line = refused(sale(1, vec![item("A", 1_000_000, "99999.99")])).await;
    assert_eq!(huge_line, fields(&[("transaction.items[0].total_price", "TOO_LARGE")]));
    let huge_sale = refused(sale(1, vec![item("A", 100, "99999999.99"); 2])).await;
    assert_eq!(huge_sale, fields(&[("transaction.total_amount", "TOO_LARGE")]));
}

#[tokio::test]
async fn texts_are_bounded_not_empty_and_without_nul() {
    let long = |length| "x".repeat(length);
    let cases = [(String::new(), "EMPTY"), ("a\0b".to_owned(), "CONTAINS_NUL"), (long(51), "TOO_LONG")];
    for (text, reason) in cases {
        let wrong = refused_item(|item| item.product_code = text.clone()).await;
        assert_eq!(wrong, fields(&[("transaction.items[0].product_code", reason)]), "{text:?}");
    }
    let name = refused_item(|item| item.product_name = long(201)).await;
    assert_eq!(name, fields(&[("transaction.items[0].product_name", "TOO_LONG")]));
    let category = refused_item(|item| item.category = Some(String::new())).await;
    assert_eq!(category, fields(&[("transaction.items[0].category", "EMPTY")]));
    for (method, reason) in [("", "EMPTY"), ("Cash", "NOT_A_CODE"), ("a b", "NOT_A_CODE"), (&*long(51), "TOO_LONG")] {
        let wrong = refused_sale(|sale| sale.payment_method = method.to_owned()).await;
        assert_eq!(wrong, fields(&[("transaction.payment_method", reason)]), "{method:?}");
    }
}

#[tokio::test]
async fn strings_are_stored_as_they_came() {
    let tandem = Tandem::shared().await;
    for text in ["'; drop table sales.sales_item; --", "$1 {} %s \\", "☕ naïve \u{202e}", " spaces ", "a\nb\tc"] {
        let mut asked = item(text, 1, "1.00");
        asked.product_name = text.to_owned();
        asked.category = Some(text.to_owned());
        let stored = tandem.commands().create_transaction(create(sale(1, vec![asked]))).await.unwrap().into_inner();
        let transaction_id = stored.transaction.unwrap().transaction_id;
        let consistency = after(&stored.consistency_token);
        let found = tandem.queries().get_transaction(GetTransactionRequest { transaction_id, consistency }).await;
        let found = found.unwrap().into_inner().transaction.unwrap().items.remove(0);
        assert_eq!((&*found.product_code, &*found.product_name, found.category.as_deref()), (text, text, Some(text)));
    }
}

#[tokio::test]
async fn times_are_real_and_not_far_in_the_future() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
    let cases = [
        (None, "REQUIRED"),
        (at(now + 86_400 + 60, 0), "IN_THE_FUTURE"),
        (at(946_684_799, 0), "TOO_OLD"),
        (at(-1, 0), "TOO_OLD"),
        (at(now, -1), "MALFORMED_TIME"),
        (at(now, 1_000_000_000), "MALFORMED_TIME"),
        (at(i64::MAX, 0), "MALFORMED_TIME"),
    ];
    for (time, reason) in cases {
        let wrong = refused_sale(|sale| sale.transaction_time = time).await;
        assert_eq!(wrong, fields(&[("transaction.transaction_time", reason)]), "{time:?}");
    }
    let tandem = Tandem::shared().await;
    let mut tomorrow = sale(1, vec![item("A", 1, "1.00")]);
    tomorrow.transaction_time = at(now + 86_400 - 60, 0);
    tandem.commands().create_transaction(create(tomorrow)).await.unwrap();
}

#[tokio::test]
async fn every_wrong_field_is_named_and_not_only_the_first() {
    let spoilt = SalesTransaction {
        items: vec![item("A", 1, "1.00"), SalesItem { quantity: -2, ..SalesItem::default() }],
        customer_id: Some(0),
        total_amount: money("EUR", 1, 0),
        ..SalesTransaction::default()
    };
    let expected = [
        ("transaction.cashier_id", "OUT_OF_RANGE"),
        ("transaction.customer_id", "OUT_OF_RANGE"),
        ("transaction.items[1].product_code", "EMPTY"),
        ("transaction.items[1].product_name", "EMPTY"),
        ("transaction.items[1].quantity", "OUT_OF_RANGE"),
        ("transaction.items[1].unit_price", "REQUIRED"),
        ("transaction.payment_method", "EMPTY"),
        ("transaction.store_id", "OUT_OF_RANGE"),
        ("transaction.total_amount", "WRONG_CURRENCY"),
        ("transaction.transaction_time", "REQUIRED"),
    ];
    assert_eq!(refused(spoilt).await, fields(&expected));
}

#[tokio::test]
async fn an_answer_with_hundreds_of_wrong_fields_still_fits_into_headers() {
    let tandem = Tandem::shared().await;
    let spoilt = sale(1, vec![SalesItem::default(); 500]);
    let status = tandem.commands().create_transaction(create(spoilt)).await.unwrap_err();
    assert_eq!(wrong_fields(&status).len(), 20);
    assert!(status.message().contains("2000 fields are wrong"), "{}", status.message());
    assert!(status.details().len() < 6_000, "{} bytes", status.details().len());
}

#[tokio::test]
async fn malformed_ids_etags_and_request_ids_are_the_callers_fault() {
    let tandem = Tandem::shared().await;
    let spoilt = DeleteTransactionRequest {
        transaction_id: "1; drop table sales".to_owned(),
        etag: "7".to_owned(),
        request_id: "{01935c3e-7d2a-7c4b-9d6e-0123456789ab}".to_owned(),
        ..Default::default()
    };
    let status = tandem.commands().delete_transaction(spoilt).await.unwrap_err();
    let expected = [("etag", "NOT_AN_ETAG"), ("request_id", "NOT_A_UUID"), ("transaction_id", "NOT_A_UUID")];
    assert_eq!(wrong_fields(&status), fields(&expected));
    let asked = GetTransactionRequest { transaction_id: "not-a-uuid".to_owned(), consistency: after("garbage") };
    let status = tandem.queries().get_transaction(asked).await.unwrap_err();
    let expected = [("consistency.at_least_as_fresh_as", "NOT_A_CONSISTENCY_TOKEN"), ("transaction_id", "NOT_A_UUID")];
    assert_eq!(wrong_fields(&status), fields(&expected));
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_field_by_field() {
    let tandem = Tandem::shared().await;
    let mut queries = tandem.queries();
    let filter = TransactionFilter {
        store_ids: vec![1, 0],
        cashier_ids: vec![1; 101],
        payment_methods: vec!["cash".to_owned(), "Cash".to_owned(), "a\0".to_owned()],
        ..TransactionFilter::default()
    };
    let list = ListTransactionsRequest { page_size: -1, filter: Some(filter), ..Default::default() };
    let expected = [
        ("filter.cashier_ids", "TOO_MANY_VALUES"),
        ("filter.payment_methods[1]", "NOT_A_CODE"),
        ("filter.payment_methods[2]", "NOT_A_CODE"),
        ("filter.store_ids[1]", "OUT_OF_RANGE"),
        ("page_size", "OUT_OF_RANGE"),
    ];
    assert_eq!(wrong_fields(&queries.list_transactions(list).await.unwrap_err()), fields(&expected));

    let backwards = GetSummaryRequest { range: range(20, 10), ..Default::default() };
    let status = queries.get_summary(backwards).await.unwrap_err();
    assert_eq!(wrong_fields(&status), fields(&[("range.end_time", "EMPTY_RANGE")]));

    let never = GetSummaryRequest { consistency: at_most(Duration::ZERO), ..Default::default() };
    let status = queries.get_summary(never).await.unwrap_err();
    assert_eq!(wrong_fields(&status), fields(&[("consistency.max_staleness", "NOT_POSITIVE")]));

    let consistency = Some(ReadConsistency { requirement: Some(Requirement::Strong(false)) });
    let top = ListTopProductsRequest { limit: -5, ranking: 7, consistency, ..Default::default() };
    let status = queries.list_top_products(top).await.unwrap_err();
    let expected = [("consistency.strong", "NOT_TRUE"), ("limit", "OUT_OF_RANGE"), ("ranking", "UNKNOWN_VALUE")];
    assert_eq!(wrong_fields(&status), fields(&expected));
}

#[tokio::test]
async fn nothing_of_a_refused_sale_is_stored() {
    let tandem = Tandem::shared().await;
    const STORE: i32 = 990_001;
    refused(sale(STORE, vec![item("A", 1, "1.00"), item("B", 0, "1.00")])).await;
    let mut wrong_total = sale(STORE, vec![item("A", 1, "1.00")]);
    wrong_total.total_amount = Some(usd("2.00"));
    refused(wrong_total).await;
    let stored: i64 = sqlx::query_scalar("select count(*) from sales.sales_transaction where store_id = $1")
        .bind(STORE)
        .fetch_one(&mut tandem.primary().await)
        .await
        .unwrap();
    assert_eq!(stored, 0);
}
