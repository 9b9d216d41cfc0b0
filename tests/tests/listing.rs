//! Listings of sales: pages are right, and stay right while sales arrive.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use prost_types::Timestamp;
use tandem_proto::sales::{
    query::v1::{ListTransactionsRequest, TransactionFilter},
    v1::{SalesItem, SalesTransaction},
};
use tandem_tests::{
    Tandem,
    request::{after, create, item, listed_in_store, range, sale_at, usd, wrong_fields},
};

/// A Monday, 2024-01-01 00:00 UTC.
const MONDAY: i64 = 1_704_067_200;
const DAY: i64 = 86_400;

/// Creates a sale and gives the token that covers it.
async fn store(tandem: &Tandem, store_id: i32, seconds: i64, items: Vec<SalesItem>) -> (SalesTransaction, String) {
    let asked = sale_at(Timestamp { seconds, nanos: 0 }, store_id, items);
    let stored = tandem.commands().create_transaction(create(asked)).await.unwrap().into_inner();
    (stored.transaction.unwrap(), stored.consistency_token)
}

#[tokio::test]
async fn pages_show_each_sale_once_newest_first_while_sales_arrive() {
    const STORE: i32 = 106;
    let tandem = Tandem::shared().await;
    let mut stored = Vec::new();
    for number in 0..7 {
        // Three moments for seven sales: those of one moment are told apart by their ids.
        stored.push(store(tandem, STORE, MONDAY + number / 3, vec![item("A", 1, "1.00")]).await);
    }
    let token = stored.last().unwrap().1.clone();
    let mut queries = tandem.queries();
    let (mut seen, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let asked = ListTransactionsRequest {
            page_size: 2,
            page_token,
            filter: listed_in_store(STORE),
            consistency: after(&token),
            ..Default::default()
        };
        let page = queries.list_transactions(asked).await.unwrap().into_inner();
        assert!(page.transactions.iter().all(|sale| sale.items.len() == 1));
        seen.extend(page.transactions.into_iter().map(|sale| sale.transaction_id));
        pages += 1;
        // A sale that is newer than every page that was shown changes none that comes.
        store(tandem, STORE, MONDAY + 100, vec![item("A", 1, "1.00")]).await;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut expected: Vec<_> = stored.into_iter().map(|(sale, _)| sale).collect();
    expected.sort_by_key(|sale| (sale.transaction_time.unwrap().seconds, sale.transaction_id.clone()));
    let expected: Vec<_> = expected.into_iter().rev().map(|sale| sale.transaction_id).collect();
    assert_eq!((seen, pages), (expected, 4));
}

#[tokio::test]
async fn a_page_token_is_bound_to_its_question() {
    const STORE: i32 = 107;
    let tandem = Tandem::shared().await;
    store(tandem, STORE, MONDAY, vec![item("A", 1, "1.00")]).await;
    let (_, token) = store(tandem, STORE, MONDAY, vec![item("A", 1, "1.00")]).await;
    let asked = |page_token: &str, store_id| ListTransactionsRequest {
        page_size: 1,
        page_token: page_token.to_owned(),
        filter: listed_in_store(store_id),
        consistency: after(&token),
        ..Default::default()
    };
    let mut queries = tandem.queries();
    let next = queries.list_transactions(asked("", STORE)).await.unwrap().into_inner().next_page_token;
    for (page_token, store_id, reason) in
        [(&*next, STORE + 1, "PAGE_TOKEN_OF_ANOTHER_QUESTION"), (&next[1..], STORE, "NOT_A_PAGE_TOKEN")]
    {
        let refused = queries.list_transactions(asked(page_token, store_id)).await.unwrap_err();
        assert_eq!(wrong_fields(&refused), [("page_token".to_owned(), reason.to_owned())]);
    }
}

#[tokio::test]
async fn pages_stay_right_under_every_filter_while_sales_arrive() {
    const STORE: i32 = 114;
    let tandem = Tandem::shared().await;
    let of_category = |code: &str, category: Option<&str>, price: &str| SalesItem {
        category: category.map(str::to_owned),
        ..item(code, 1, price)
    };
    let mut wanted = Vec::new();
    let mut token = String::new();
    for number in 0..30 {
        // Each filter alone lets a part of them pass, and all of them together a sixth.
        let code = if number % 2 == 0 { "WANTED" } else { "OTHER" };
        let category = if number % 3 == 0 { Some("Wanted") } else { None };
        let items = vec![of_category("PLAIN", category, "1.00"), of_category(code, None, &format!("{number}.00"))];
        let (sale, covered) = store(tandem, STORE, MONDAY + number, items).await;
        if number % 6 == 0 && (6..=24).contains(&number) {
            wanted.push(sale.transaction_id);
        }
        token = covered;
    }
    wanted.reverse();
    let filter = TransactionFilter {
        categories: vec!["Wanted".to_owned(), "Unwanted".to_owned()],
        product_codes: vec!["WANTED".to_owned()],
        // Both are inclusive.
        min_total_amount: Some(usd("7.00")),
        max_total_amount: Some(usd("25.00")),
        ..listed_in_store(STORE).unwrap()
    };
    let mut queries = tandem.queries();
    let (mut seen, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    while pages == 0 || !page_token.is_empty() {
        let asked = ListTransactionsRequest {
            page_size: 1,
            page_token,
            filter: Some(filter.clone()),
            range: range(MONDAY, MONDAY + DAY),
            consistency: after(&token),
        };
        let page = queries.list_transactions(asked).await.unwrap().into_inner();
        seen.extend(page.transactions.into_iter().map(|sale| sale.transaction_id));
        pages += 1;
        assert!(pages <= wanted.len(), "pages lead on for ever: {seen:?}");
        // One that the filter lets pass, newer than all.
        let items = vec![of_category("WANTED", Some("Wanted"), "7.00")];
        token = store(tandem, STORE, MONDAY + 100, items).await.1;
        page_token = page.next_page_token;
    }
    assert_eq!((seen, pages), (wanted, 4));
}

#[tokio::test]
async fn no_page_is_too_large_for_a_client() {
    const STORE: i32 = 112;
    const SALES: usize = 7;
    let tandem = Tandem::shared().await;
    // The longest texts that there are, in the longest characters that there are.
    let long = SalesItem {
        product_code: "𝄞".repeat(50),
        product_name: "𝄞".repeat(200),
        category: Some("𝄞".repeat(100)),
        ..item("", 1_000, "999.99")
    };
    let mut token = String::new();
    for _ in 0..SALES {
        token = store(tandem, STORE, MONDAY, vec![long.clone(); 500]).await.1;
    }
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    while pages.is_empty() || !page_token.is_empty() {
        let (filter, consistency) = (listed_in_store(STORE), after(&token));
        let asked = ListTransactionsRequest { page_size: 100, page_token, filter, consistency, ..Default::default() };
        let page = tandem.queries().list_transactions(asked).await.unwrap().into_inner();
        pages.push(page.transactions.len());
        page_token = page.next_page_token;
    }
    assert_eq!(pages, [5, 2]);
}
