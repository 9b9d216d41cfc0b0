//! Batches: imports are some, and both databases and the replication service say what has become of them.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use sqlx::PgConnection;
use tandem_proto::sales::command::v1::{ImportReceipt, ImportStart};
use tandem_tests::{
    Tandem,
    import::{ImportStream, new_import, resumed, row, rows},
    request::reason,
};

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
    let lsn: String = sqlx::query_scalar("select distinct lsn::text from tandem.batch_control where batch_id = $1")
        .bind(&start.import_id)
        .fetch_one(&mut primary)
        .await
        .unwrap();
    assert_eq!(lsn, receipt.lsn);
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
