//! Batches: imports are some, and both databases and the replication service say what has become of them.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use sqlx::PgConnection;
use tandem_proto::sales::{
    command::v1::{ImportReceipt, ImportStart},
    query::v1::{
        Batch, BatchHealth, BatchStatus, GetBatchRequest, GetSummaryRequest, ListBatchesRequest, WaitForBatchRequest,
        WaitForBatchResponse,
    },
};
use tandem_tests::{
    Tandem,
    import::{ImportStream, new_import, resumed, row, rows},
    request::{after, reason, within, wrong_fields},
};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use uuid::Uuid;

/// Whoever waits longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the primary says of a batch: status, rows and error of each table, the items first, and whether there is a
/// position behind it.
type Registered = (String, Option<i64>, Option<String>, bool);

async fn registered(connection: &mut PgConnection, batch_id: &str) -> Vec<Registered> {
    let sql = "
        select status, row_count, error, lsn is not null and ended_at is not null
        from tandem.batch_control where batch_id = $1 and schema_name = 'sales' order by table_name
    ";
    sqlx::query_as(sql).bind(batch_id).fetch_all(connection).await.unwrap()
}

fn completed(sales: i64) -> [Registered; 2] {
    [2 * sales, sales].map(|rows| ("COMPLETED".to_owned(), Some(rows), None, true))
}

fn failed(sales: i64, error: &str) -> [Registered; 2] {
    [2 * sales, sales].map(|rows| ("FAILED".to_owned(), Some(rows), Some(error.to_owned()), true))
}

fn in_progress() -> [Registered; 2] {
    [(); 2].map(|()| ("IN_PROGRESS".to_owned(), None, None, false))
}

/// Chunks of a batch, and its sales that are stored, and those that it names and that are not.
async fn named(connection: &mut PgConnection, batch_id: &str) -> (i64, i64, i64) {
    let sql = "
        select (select count(*) from tandem.batch_part where batch_id = $1), count(sale.transaction_id),
            count(*) filter (where sale.transaction_id is null)
        from tandem.batch_part as part
        cross join unnest(part.transaction_ids) as id
        left join sales.sales_transaction as sale on sale.transaction_id = id
        where part.batch_id = $1
    ";
    sqlx::query_as(sql).bind(batch_id).fetch_one(connection).await.unwrap()
}

async fn get(tandem: &Tandem, batch_id: &str, token: &str) -> Result<Batch, Status> {
    let asked =
        GetBatchRequest { batch_id: batch_id.to_owned(), consistency: after(token).filter(|_| !token.is_empty()) };
    Ok(tandem.replication().get_batch(asked).await?.into_inner().batch.unwrap())
}

async fn wait(tandem: &Tandem, batch_id: &str, patience: Duration) -> Result<Streaming<WaitForBatchResponse>, Status> {
    let asked = WaitForBatchRequest { batch_id: batch_id.to_owned() };
    Ok(tandem.replication().wait_for_batch(within(asked, patience)).await?.into_inner())
}

/// What a stream says next of its batch; nothing where the replica has not heard of it.
async fn said(stream: &mut Streaming<WaitForBatchResponse>) -> Option<BatchStatus> {
    let message = stream.message().await.unwrap().expect("the stream goes on");
    assert_eq!(message.replica_name, "replica-1");
    message.batch.map(|batch| batch.status())
}

/// Listens until all of a batch can be read.
async fn until_ready(mut stream: Streaming<WaitForBatchResponse>) -> Batch {
    let mut last = None;
    while let Some(message) = stream.message().await.unwrap() {
        last = message.batch;
    }
    let batch = last.expect("it ends with the batch");
    assert_eq!((batch.status(), batch.health()), (BatchStatus::Completed, BatchHealth::Ready));
    batch
}

/// Sales of a store that the replica shows.
async fn readable(tandem: &Tandem, store_id: i32) -> i64 {
    let sql = "select count(*) from sales.sales_transaction where store_id = $1";
    sqlx::query_scalar(sql).bind(store_id).fetch_one(&mut tandem.replica().await).await.unwrap()
}

/// Row 2 is one that nobody takes.
async fn import_with_a_wrong_row(tandem: &Tandem, start: &ImportStart, store_id: i32) -> Result<ImportReceipt, String> {
    let mut source = rows(store_id, 1..=5);
    source[1].payment_method = "No Such Code".to_owned();
    let stream = ImportStream::start(&tandem.commands(), start).await.unwrap();
    stream.rows(1, source).await;
    stream.finish(5).await;
    stream.end().await.map(|said| said.receipt.unwrap()).map_err(|status| reason(&status))
}

#[tokio::test]
async fn an_import_is_a_batch_that_names_its_sales_and_a_position_behind_them() {
    let tandem = Tandem::shared().await;
    let mut primary = tandem.primary().await;
    let start = new_import();
    let stream = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    assert_eq!(registered(&mut primary, &start.import_id).await, in_progress());
    stream.rows(1, rows(1, 1..=9_999)).await;
    stream.rows(10_000, rows(1, 10_000..=12_000)).await;
    stream.finish(12_000).await;
    let receipt = stream.end().await.unwrap().receipt.unwrap();
    assert_eq!(registered(&mut primary, &start.import_id).await, completed(12_000));
    let (chunks, stored, lost) = named(&mut primary, &start.import_id).await;
    assert!(chunks >= 2, "{chunks}");
    assert_eq!((stored, lost), (12_000, 0));
    // The receipt covers the batch's own row too.
    let batch = get(tandem, &start.import_id, &receipt.consistency_token).await.unwrap();
    assert_eq!((batch.status(), batch.health()), (BatchStatus::Completed, BatchHealth::Ready));
    let tables: Vec<_> = batch.tables.iter().map(|table| (table.name.as_str(), table.row_count())).collect();
    assert_eq!(tables, [("sales.sales_item", 24_000), ("sales.sales_transaction", 12_000)]);
    assert!(batch.ended_at.is_some() && !batch.lsn.is_empty() && batch.error.is_empty());
    // And its token covers the rows.
    let asked = GetSummaryRequest { consistency: after(&batch.consistency_token), ..Default::default() };
    tandem.queries().get_summary(asked).await.unwrap();
    assert_eq!(readable(tandem, 1).await, 12_000);
}

#[tokio::test]
async fn a_refused_row_is_not_of_the_batch_and_fails_one_that_is_all_or_nothing() {
    let tandem = Tandem::shared().await;
    let mut primary = tandem.primary().await;
    let start = new_import();
    import_with_a_wrong_row(tandem, &start, 2).await.unwrap();
    assert_eq!(registered(&mut primary, &start.import_id).await, completed(4));
    assert_eq!(named(&mut primary, &start.import_id).await, (1, 4, 0));

    let start = ImportStart { all_or_nothing: true, ..new_import() };
    assert_eq!(import_with_a_wrong_row(tandem, &start, 3).await.unwrap_err(), "INVALID_FIELDS");
    assert_eq!(registered(&mut primary, &start.import_id).await, failed(0, "row 2 is wrong"));
    assert_eq!(named(&mut primary, &start.import_id).await, (0, 0, 0));
}

#[tokio::test]
async fn an_import_that_breaks_off_has_failed_until_it_is_resumed_and_only_its_newest_stream_says_so() {
    let tandem = Tandem::shared().await;
    let mut primary = tandem.primary().await;
    let start = new_import();
    let mut stream = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    stream.rows(1, rows(4, 1..=10)).await;
    stream.until(10).await.unwrap();
    assert_eq!(reason(&stream.stop_sending().await.unwrap_err()), "IMPORT_UNFINISHED");
    let broken = failed(10, "the stream ended before the import did");
    assert_eq!(registered(&mut primary, &start.import_id).await, broken);

    let older = ImportStream::start(&tandem.commands(), &resumed(&start, 10)).await.unwrap();
    assert_eq!(registered(&mut primary, &start.import_id).await, in_progress());
    let newer = ImportStream::start(&tandem.commands(), &resumed(&start, 10)).await.unwrap();
    assert_eq!(reason(&older.end().await.unwrap_err()), "IMPORT_SUPERSEDED");
    assert_eq!(registered(&mut primary, &start.import_id).await, in_progress());
    newer.rows(11, vec![row(4, 11)]).await;
    newer.finish(11).await;
    newer.end().await.unwrap();
    assert_eq!(registered(&mut primary, &start.import_id).await, completed(11));
    assert_eq!(named(&mut primary, &start.import_id).await, (2, 11, 0));
}

#[tokio::test]
async fn who_waits_for_a_batch_is_told_each_state_and_can_read_all_of_it_in_the_end() {
    const STORE: i32 = 5;
    let tandem = Tandem::shared().await;
    let start = new_import();
    let mut first = wait(tandem, &start.import_id, PATIENCE).await.unwrap();
    assert_eq!(said(&mut first).await, None, "nobody has begun it");
    let import = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    assert_eq!(said(&mut first).await, Some(BatchStatus::InProgress));
    import.rows(1, rows(STORE, 1..=9_000)).await;
    let mut others = Vec::new();
    for _ in 0..20 {
        let mut other = wait(tandem, &start.import_id, PATIENCE).await.unwrap();
        assert_eq!(said(&mut other).await, Some(BatchStatus::InProgress));
        others.push(other);
    }
    import.finish(9_000).await;
    let batch = until_ready(first).await;
    // Without any token: what can be read can be read.
    assert_eq!(readable(tandem, STORE).await, 9_000);
    for other in others {
        assert_eq!(until_ready(other).await, batch);
    }
    // Who comes late is told at once.
    assert_eq!(until_ready(wait(tandem, &start.import_id, PATIENCE).await.unwrap()).await, batch);
    import.end().await.unwrap();
}

#[tokio::test]
async fn a_wait_ends_with_a_failure_or_with_the_caller_s_deadline() {
    let tandem = Tandem::shared().await;
    let start = ImportStart { all_or_nothing: true, ..new_import() };
    let mut waiting = wait(tandem, &start.import_id, PATIENCE).await.unwrap();
    import_with_a_wrong_row(tandem, &start, 6).await.unwrap_err();
    let mut last = None;
    let end = loop {
        match waiting.message().await {
            Ok(message) => last = message.expect("it does not end well").batch,
            Err(end) => break end,
        }
    };
    assert_eq!(
        last.map(|batch| (batch.status(), batch.error)).unwrap(),
        (BatchStatus::Failed, "row 2 is wrong".to_owned())
    );
    assert_eq!((end.code(), reason(&end)), (Code::FailedPrecondition, "BATCH_FAILED".to_owned()));
    assert_eq!(end.get_details_error_info().unwrap().metadata["batch_error"], "row 2 is wrong");

    let mut waiting = wait(tandem, "never-begun", Duration::from_millis(300)).await.unwrap();
    assert_eq!(said(&mut waiting).await, None);
    let end = waiting.message().await.unwrap_err();
    assert_eq!(end.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn what_is_no_batch_is_said_so() {
    let tandem = Tandem::shared().await;
    let mut replication = tandem.replication();
    let missing = get(tandem, &Uuid::now_v7().to_string(), "").await.unwrap_err();
    assert_eq!((missing.code(), reason(&missing)), (Code::NotFound, "NOT_FOUND".to_owned()));
    assert_eq!(missing.get_details_error_info().unwrap().metadata["replica_name"], "replica-1");
    assert_eq!(missing.get_details_resource_info().unwrap().resource_type, "sales.query.v1.Batch");
    let wrong = |field: &str, reason: &str| vec![(field.to_owned(), reason.to_owned())];
    for (batch_id, fault) in [("", "REQUIRED"), ("no spaces", "NOT_A_BATCH_ID"), (&"a".repeat(101), "NOT_A_BATCH_ID")] {
        let refused = get(tandem, batch_id, "").await.unwrap_err();
        assert_eq!(wrong_fields(&refused), wrong("batch_id", fault));
        let refused = wait(tandem, batch_id, PATIENCE).await.unwrap_err();
        assert_eq!(wrong_fields(&refused), wrong("batch_id", fault));
    }
    for (page_size, page_token, expected) in
        [(-1, "", wrong("page_size", "OUT_OF_RANGE")), (0, "x", wrong("page_token", "NOT_A_PAGE_TOKEN"))]
    {
        let asked = ListBatchesRequest { page_size, page_token: page_token.to_owned(), consistency: None };
        assert_eq!(wrong_fields(&replication.list_batches(asked).await.unwrap_err()), expected);
    }
}

#[tokio::test]
async fn batches_are_listed_page_by_page_those_that_began_last_first_and_each_once() {
    let tandem = Tandem::shared().await;
    // Two that began at one moment, and one whose tables did not.
    let sql = "
        insert into tandem.batch_control (batch_id, schema_name, table_name, status, started_at)
        select 'listed-' || number, 'sales', table_name, 'IN_PROGRESS',
            '2026-01-01'::timestamptz + make_interval(
                days => greatest(number, 2), hours => case when number = 3 and table_name = 'sales_item' then 30 else 0 end
            )
        from generate_series(1, 5) as number
        cross join unnest(array['sales_transaction', 'sales_item']) as table_name
    ";
    sqlx::query(sql).execute(&mut tandem.primary().await).await.unwrap();
    let start = new_import();
    import_with_a_wrong_row(tandem, &start, 7).await.unwrap();
    until_ready(wait(tandem, &start.import_id, PATIENCE).await.unwrap()).await;

    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let asked = ListBatchesRequest { page_size: 2, page_token, consistency: None };
        let page = tandem.replication().list_batches(asked).await.unwrap().into_inner();
        assert!(page.batches.len() == 2 || page.next_page_token.is_empty(), "{page:?}");
        found.extend(page.batches);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let listed: Vec<_> = found.iter().map(|batch| &*batch.batch_id).filter(|id| id.starts_with("listed-")).collect();
    assert_eq!(listed, ["listed-5", "listed-4", "listed-3", "listed-2", "listed-1"]);
    assert!(found.iter().any(|batch| batch.batch_id == start.import_id));
    assert!(found.iter().all(|batch| batch.tables.len() == 2), "{found:?}");
    let seconds = |batch: &Batch| batch.started_at.unwrap().seconds;
    assert!(found.is_sorted_by(|one, next| seconds(one) >= seconds(next)));
}
