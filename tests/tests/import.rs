//! ImportTransactions: whatever breaks, each row is there once, and the caller knows which.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::time::{Duration, Instant};

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tandem_proto::sales::{
    command::v1::{ImportReceipt, ImportStart, ImportState, import_transactions_response::Message},
    query::v1::GetSummaryRequest,
    v1::SalesTransaction,
};
use tandem_tests::{
    Tandem,
    import::{ImportStream, Said, new_import, resumed, row, rows},
    request::{after, in_store, item, reason, usd, wrong_fields},
};
use tokio::sync::OnceCell;
use tonic::Code;
use tonic_types::StatusExt as _;
use xtask::postgres::{TestOptions, TestPair};

/// A constraint that the service knows nothing of: what only the database can refuse.
const POISON: &str = "alter table sales.sales_transaction add constraint poison check (customer_id <> 666)";

/// One for all that break nothing; each test has a store of its own.
async fn tandem() -> &'static Tandem {
    static TANDEM: OnceCell<Tandem> = OnceCell::const_new();
    TANDEM
        .get_or_init(|| async {
            let pair = TestPair::start(TestOptions::default()).await.unwrap();
            pair.primary().connect("tandem").await.unwrap().execute(POISON).await.unwrap();
            Tandem::serve(pair, &["--imports", "64"]).await.unwrap()
        })
        .await
}

/// Stored sales of a store, how many different rows they are, their items, and both sums.
async fn stored(connection: &mut PgConnection, store_id: i32) -> (i64, i64, i64, String, String) {
    let sql = format!(
        "select count(*), count(distinct cashier_id),
            (select count(*) from sales.sales_item join sales.sales_transaction using (transaction_id)
                where store_id = {store_id}),
            coalesce(sum(total_amount), 0)::text, coalesce(sum(total_discount), 0)::text
        from sales.sales_transaction where store_id = {store_id}"
    );
    sqlx::query_as(AssertSqlSafe(sql)).fetch_one(connection).await.unwrap()
}

/// That exactly `rows` rows of the source are stored, on the primary and, once it has what the token covers, the replica.
async fn assert_stored_once(tandem: &Tandem, store_id: i32, rows: i64, token: &str) {
    let primary = stored(&mut tandem.primary().await, store_id).await;
    assert_eq!((primary.0, primary.1, primary.2), (rows, rows, 2 * rows), "on the primary");
    let asked = GetSummaryRequest { consistency: after(token), filter: in_store(store_id), ..Default::default() };
    tandem.queries().get_summary(asked).await.unwrap();
    assert_eq!(stored(&mut tandem.replica().await, store_id).await, primary, "on the replica");
}

/// The hash over rows, as the contract describes it.
fn hash_of<'a>(rows: impl IntoIterator<Item = &'a SalesTransaction>) -> Vec<u8> {
    rows.into_iter().fold(vec![0; 32], |hash, row| Sha256::digest([hash, row.encode_to_vec()].concat()).to_vec())
}

async fn import(tandem: &Tandem, start: &ImportStart, rows: Vec<SalesTransaction>) -> Result<Said, tonic::Status> {
    let stream = ImportStream::start(&tandem.commands(), start).await?;
    let count = i64::try_from(rows.len()).unwrap();
    stream.rows(1, rows).await;
    stream.finish(count).await;
    stream.end().await
}

fn receipt_of(said: Said) -> ImportReceipt {
    said.receipt.expect("a complete import has a receipt")
}

#[tokio::test]
async fn the_receipt_says_what_both_databases_hold() {
    const STORE: i32 = 1;
    let tandem = tandem().await;
    let start = new_import();
    let mut stream = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    assert_eq!((stream.started.last_row_number, stream.started.state()), (0, ImportState::New));
    let source = rows(STORE, 1..=12_000);
    for (first, some) in (1..).step_by(1_000).zip(source.chunks(1_000)) {
        stream.rows(first, some.to_vec()).await;
    }
    let acknowledged = stream.until(5_000).await.unwrap().acknowledged.unwrap();
    assert_eq!((acknowledged.rows_written, acknowledged.rows_refused), (acknowledged.last_row_number, 0));
    stream.finish(12_000).await;
    let receipt = receipt_of(stream.end().await.unwrap());
    assert_eq!(receipt.import_id, start.import_id);
    assert_eq!((receipt.rows_written, receipt.items_written, receipt.rows_refused), (12_000, 24_000, 0));
    assert_eq!(receipt.content_hash, hash_of(&source));
    assert_stored_once(tandem, STORE, 12_000, &receipt.consistency_token).await;
    let (.., amount, discount) = stored(&mut tandem.primary().await, STORE).await;
    assert_eq!((receipt.total_amount, receipt.total_discount), (Some(usd(&amount)), Some(usd(&discount))));
    assert_eq!((amount.as_str(), discount.as_str()), ("60000.00", "6000.00"));
    let lsn: String = sqlx::query_scalar("select lsn::text from tandem.import where import_id = $1::uuid")
        .bind(&start.import_id)
        .fetch_one(&mut tandem.primary().await)
        .await
        .unwrap();
    assert_eq!(receipt.lsn, lsn);
}

#[tokio::test]
async fn ids_ascend_with_the_rows_and_times_are_the_service_s_own() {
    const STORE: i32 = 2;
    let tandem = tandem().await;
    import(tandem, &new_import(), rows(STORE, 1..=300)).await.unwrap();
    let sql = "select count(*) from (
            select cashier_id - lag(cashier_id) over (order by transaction_id) as step, created_at, updated_at, version
            from sales.sales_transaction where store_id = 2
        ) as sale where step <> 1 or created_at <> updated_at or version <> 1 or created_at < now() - interval '5 min'";
    let wrong: i64 = sqlx::query_scalar(sql).fetch_one(&mut tandem.primary().await).await.unwrap();
    assert_eq!(wrong, 0);
}

#[tokio::test]
async fn a_complete_import_that_is_started_again_gives_the_same_receipt_and_takes_nothing() {
    const STORE: i32 = 3;
    let tandem = tandem().await;
    let start = new_import();
    let first = receipt_of(import(tandem, &start, rows(STORE, 1..=10)).await.unwrap());
    import(tandem, &new_import(), rows(STORE + 100, 1..=10)).await.unwrap();
    let again = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    assert_eq!((again.started.last_row_number, again.started.state()), (10, ImportState::Completed));
    again.rows(11, rows(STORE, 11..=20)).await;
    assert_eq!(receipt_of(again.end().await.unwrap()), first);
    assert_stored_once(tandem, STORE, 10, &first.consistency_token).await;
}

#[tokio::test]
async fn an_import_that_is_resumed_from_any_earlier_row_stores_none_twice() {
    const STORE: i32 = 4;
    let tandem = tandem().await;
    let start = new_import();
    let mut broken = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    broken.rows(1, rows(STORE, 1..=1_000)).await;
    broken.until(1_000).await.unwrap();
    drop(broken);
    let mut resumed = ImportStream::start(&tandem.commands(), &resumed(&start, 0)).await.unwrap();
    assert_eq!((resumed.started.last_row_number, resumed.started.state()), (1_000, ImportState::Resumed));
    resumed.rows(700, rows(STORE, 700..=1_200)).await;
    resumed.rows(1_150, rows(STORE, 1_150..=1_300)).await;
    let acknowledged = resumed.until(1_300).await.unwrap().acknowledged.unwrap();
    assert_eq!((acknowledged.rows_written, acknowledged.rows_skipped), (1_300, 301 + 51));
    resumed.finish(1_300).await;
    let receipt = receipt_of(resumed.end().await.unwrap());
    assert_eq!(receipt.content_hash, hash_of(&rows(STORE, 1..=1_300)), "the hash goes on where it stood");
    assert_stored_once(tandem, STORE, 1_300, &receipt.consistency_token).await;
}

#[tokio::test]
async fn rows_that_are_left_out_are_a_gap_and_the_caller_hears_what_was_expected() {
    const STORE: i32 = 5;
    let tandem = tandem().await;
    let start = new_import();
    for (first, last) in [(12, 15), (0, 3)] {
        let stream = ImportStream::start(&tandem.commands(), &start).await.unwrap();
        stream.rows(1, rows(STORE, 1..=10)).await;
        stream.rows(first, rows(STORE, 12..=last)).await;
        let status = stream.end().await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "IMPORT_ROW_GAP"));
        let metadata = status.get_details_error_info().unwrap().metadata;
        assert_eq!(metadata["expected_row_number"], "11");
        assert_eq!(metadata["found_row_number"], first.to_string());
    }
    let stream = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    assert_eq!(stream.started.last_row_number, 10, "the rows before the gap stand");
    stream.finish(11).await;
    assert_eq!(reason(&stream.end().await.unwrap_err()), "IMPORT_ROW_GAP", "an import is no shorter than it says");
}

#[tokio::test]
async fn a_stream_that_ends_without_a_finish_leaves_the_import_unfinished() {
    const STORE: i32 = 6;
    let tandem = tandem().await;
    let start = new_import();
    let stream = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    stream.rows(1, rows(STORE, 1..=10)).await;
    let status = stream.stop_sending().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "IMPORT_UNFINISHED"));
    let stream = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    assert_eq!((stream.started.last_row_number, stream.started.state()), (10, ImportState::Resumed));
}

#[tokio::test]
async fn the_first_message_names_the_import_and_no_other_does() {
    let tandem = tandem().await;
    for import_id in ["", "1"] {
        let start = ImportStart { import_id: import_id.to_owned(), ..ImportStart::default() };
        let status = ImportStream::start(&tandem.commands(), &start).await.err().unwrap();
        assert_eq!(wrong_fields(&status)[0].0, "start.import_id");
    }
    let (requests, mut answers) = tandem_tests::import::open(&tandem.commands()).await.unwrap();
    requests.send(tandem_proto::sales::command::v1::ImportTransactionsRequest::default()).await.unwrap();
    assert_eq!(wrong_fields(&answers.message().await.unwrap_err())[0].0, "message");
}

#[tokio::test]
async fn wrong_rows_are_refused_with_their_numbers_and_the_others_are_stored() {
    const STORE: i32 = 7;
    let tandem = tandem().await;
    let start = new_import();
    let mut source = rows(STORE, 1..=3_000);
    source[9].items[1].quantity = 0;
    source[19].payment_method = "Cash".to_owned();
    // What only the database refuses.
    for number in [1, 700, 701, 3_000] {
        source[number - 1].customer_id = Some(666);
    }
    let said = import(tandem, &start, source.clone()).await.unwrap();
    let expected = [
        (1, "REFUSED_BY_DATABASE"),
        (10, "INVALID_FIELDS"),
        (20, "INVALID_FIELDS"),
        (700, "REFUSED_BY_DATABASE"),
        (701, "REFUSED_BY_DATABASE"),
        (3_000, "REFUSED_BY_DATABASE"),
    ];
    assert_eq!(said.refused_rows(), expected);
    let wrong = &said.refused[1].violations[0];
    assert_eq!((wrong.field.as_str(), wrong.reason.as_str()), ("items[1].quantity", "OUT_OF_RANGE"));
    assert_eq!(said.refused[2].violations[0].field, "payment_method");
    // The batch names the others.
    let named = "select count(*), count(sale.transaction_id)
        from tandem.batch_part cross join unnest(transaction_ids) as id
        left join sales.sales_transaction as sale on sale.transaction_id = id where batch_id = $1";
    let named: (i64, i64) =
        sqlx::query_as(named).bind(&start.import_id).fetch_one(&mut tandem.primary().await).await.unwrap();
    assert_eq!(named, (2_994, 2_994));
    assert_eq!(said.acknowledged.as_ref().unwrap().rows_refused, 6);
    let again = ImportStream::start(&tandem.commands(), &start).await.unwrap().end().await.unwrap();
    assert_eq!(again.refused, said.refused, "a caller who resumes hears of them again");
    let seen = ImportStream::start(&tandem.commands(), &resumed(&start, 20)).await.unwrap().end().await.unwrap();
    assert_eq!(seen.refused, said.refused[3..], "and not of those that it has heard of");
    let receipt = receipt_of(said);
    assert_eq!((receipt.rows_written, receipt.rows_refused, receipt.items_written), (2_994, 6, 5_988));
    assert_eq!(receipt.content_hash, hash_of(&source));
    assert_stored_once(tandem, STORE, 2_994, &receipt.consistency_token).await;
}

#[tokio::test]
async fn an_import_with_too_many_wrong_rows_ends_and_keeps_what_is_durable() {
    const STORE: i32 = 8;
    let tandem = tandem().await;
    let start = new_import();
    let mut stream = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    stream.rows(1, rows(STORE, 1..=10)).await;
    stream.until(10).await.unwrap();
    let wrong = SalesTransaction { items: vec![item("A", 0, "1.00")], ..row(STORE, 1) };
    for first in (11..12_000).step_by(2_000) {
        stream.rows(first, vec![wrong.clone(); 2_000]).await;
    }
    let status = stream.end().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "IMPORT_TOO_MANY_REFUSED"));
    assert_eq!(stored(&mut tandem.primary().await, STORE).await.0, 10);
}

#[tokio::test]
async fn rows_that_are_resent_from_the_first_must_be_what_they_were() {
    const STORE: i32 = 9;
    let tandem = tandem().await;
    let start = new_import();
    let mut stream = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    stream.rows(1, rows(STORE, 1..=100)).await;
    stream.until(100).await.unwrap();
    drop(stream);
    let mut changed = rows(STORE, 1..=200);
    changed[49].store_id += 1_000;
    let status = import(tandem, &start, changed).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "IMPORT_CONTENT_CHANGED"));
    assert_eq!(stored(&mut tandem.primary().await, STORE).await.0, 100);
    let receipt = receipt_of(import(tandem, &start, rows(STORE, 1..=200)).await.unwrap());
    assert_stored_once(tandem, STORE, 200, &receipt.consistency_token).await;
}

#[tokio::test]
async fn of_two_streams_of_one_import_the_newer_wins_and_none_stores_a_row_twice() {
    const STORE: i32 = 10;
    let tandem = tandem().await;
    for (commands, store_id) in [(tandem.commands(), STORE), (tandem.another_command().await.unwrap(), STORE + 100)] {
        let start = new_import();
        let mut older = ImportStream::start(&tandem.commands(), &start).await.unwrap();
        older.rows(1, rows(store_id, 1..=100)).await;
        older.until(100).await.unwrap();
        let newer = ImportStream::start(&commands, &start).await.unwrap();
        assert_eq!(newer.started.last_row_number, 100);
        older.rows(101, rows(store_id, 101..=200)).await;
        newer.rows(101, rows(store_id, 101..=300)).await;
        newer.finish(300).await;
        let status = older.end().await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "IMPORT_SUPERSEDED"));
        let receipt = receipt_of(newer.end().await.unwrap());
        assert_stored_once(tandem, store_id, 300, &receipt.consistency_token).await;
    }
}

#[tokio::test]
async fn a_trickle_is_acknowledged_within_a_second() {
    const STORE: i32 = 11;
    let tandem = tandem().await;
    let mut stream = ImportStream::start(&tandem.commands(), &new_import()).await.unwrap();
    for number in 1..=3 {
        let sent = Instant::now();
        stream.rows(number, rows(STORE, [number])).await;
        stream.until(number).await.unwrap();
        assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
    }
}

#[tokio::test]
async fn all_or_nothing_stores_all() {
    const STORE: i32 = 12;
    let tandem = tandem().await;
    let start = ImportStart { all_or_nothing: true, ..new_import() };
    let mut stream = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    for first in (1..=12_000).step_by(3_000) {
        stream.rows(first, rows(STORE, first..first + 3_000)).await;
    }
    assert_eq!(stored(&mut tandem.primary().await, STORE).await.0, 0, "nothing is there before the end");
    stream.finish(12_000).await;
    let mut messages = Vec::new();
    while let Some(message) = stream.next().await.unwrap() {
        messages.push(message);
    }
    let [Message::Acknowledged(_), Message::Receipt(receipt)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((receipt.rows_written, &receipt.content_hash), (12_000, &hash_of(&rows(STORE, 1..=12_000))));
    let transactions = "select count(distinct xmin::text) from sales.sales_transaction where store_id = 12";
    let transactions: i64 = sqlx::query_scalar(transactions).fetch_one(&mut tandem.primary().await).await.unwrap();
    assert_eq!(transactions, 1);
    let retry = receipt_of(import(tandem, &start, Vec::new()).await.unwrap());
    assert_eq!(&retry, receipt);
    assert_stored_once(tandem, STORE, 12_000, &receipt.consistency_token).await;
}

#[tokio::test]
async fn all_or_nothing_stores_nothing_with_one_wrong_row_which_is_named() {
    const STORE: i32 = 13;
    let tandem = tandem().await;
    let start = ImportStart { all_or_nothing: true, ..new_import() };
    let mut source = rows(STORE, 1..=7_000);
    source[6_499].items[0].quantity = -1;
    let status = import(tandem, &start, source.clone()).await.unwrap_err();
    let expected = [("rows[6500].items[0].quantity".to_owned(), "OUT_OF_RANGE".to_owned())];
    assert_eq!(wrong_fields(&status), expected);
    source[6_499] = row(STORE, 6_500);
    source[6_200].customer_id = Some(666);
    let status = import(tandem, &start, source.clone()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "REFUSED_BY_DATABASE"));
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "rows[6201]");
    assert_eq!(stored(&mut tandem.primary().await, STORE).await.0, 0);
    source[6_200].customer_id = None;
    let receipt = receipt_of(import(tandem, &start, source).await.unwrap());
    assert_stored_once(tandem, STORE, 7_000, &receipt.consistency_token).await;
}

#[tokio::test]
async fn an_import_keeps_its_mode() {
    const STORE: i32 = 14;
    let tandem = tandem().await;
    let start = new_import();
    import(tandem, &start, rows(STORE, 1..=2)).await.unwrap();
    let other = ImportStart { all_or_nothing: true, ..start };
    let status = import(tandem, &other, rows(STORE, 1..=2)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "IMPORT_MODE_CHANGED"));
}
