//! ImportTransactions while services and databases die, end or are full: what was acknowledged is there, and a caller who
//! resumes stores each row once.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, PgConnection};
use tandem_proto::sales::command::v1::{
    ImportReceipt, ImportStart, ImportState, sales_command_service_client::SalesCommandServiceClient,
};
use tandem_tests::{
    Tandem, channel,
    database::{until, until_command_waits_for_a_lock},
    health,
    import::{ImportStream, new_import, resumed, rows},
    program::Program,
    request::reason,
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::health_check_response::ServingStatus::Serving;
use tonic_types::StatusExt as _;
use xtask::{
    postgres::{Login, TestOptions, TestPair},
    service::Service,
};

type Commands = SalesCommandServiceClient<Channel>;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries of a caller whose service or database is away.
const BETWEEN_TRIES: Duration = Duration::from_millis(50);
/// Rows of a message.
const ROWS: i64 = 500;

/// Sends a source of `last` rows, from behind what the service says is durable, and hears the end. `heard` is the last
/// acknowledgement so far.
async fn send_all(
    commands: &Commands,
    start: &ImportStart,
    last: i64,
    heard: &mut i64,
) -> Result<ImportReceipt, Status> {
    let mut stream = ImportStream::start(commands, &resumed(start, *heard)).await?;
    assert!(stream.started.last_row_number >= *heard, "what was acknowledged is durable");
    let mut next = stream.started.last_row_number + 1;
    while stream.started.state() != ImportState::Completed && next <= last {
        let behind = (next + ROWS).min(last + 1);
        if !stream.rows(next, rows(1, next..behind)).await {
            break;
        }
        next = behind;
        // One chunk at a time, so that the import takes long enough to be broken off.
        if next % 2_500 == 1 {
            *heard = stream.until(next - 1).await?.acknowledged.unwrap().last_row_number;
        }
    }
    stream.finish(last).await;
    let said = stream.end().await?;
    Ok(said.receipt.expect("a complete import has a receipt"))
}

/// As a caller does who wants its rows stored, whatever happens; and how often it had to try again.
async fn send_until_stored(
    commands: impl AsyncFn() -> Commands,
    start: &ImportStart,
    last: i64,
) -> (ImportReceipt, u32) {
    let (mut tries, mut heard) = (0, 0);
    let sent = async {
        loop {
            match send_all(&commands().await, start, last, &mut heard).await {
                Ok(receipt) => return receipt,
                Err(status) => {
                    let again = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
                    assert!(again || reason(&status) == "IMPORT_SUPERSEDED", "{status:?}");
                    tries += 1;
                    sleep(BETWEEN_TRIES).await;
                }
            }
        }
    };
    let receipt = timeout(PATIENCE, sent).await.expect("the import is complete in the end");
    (receipt, tries)
}

async fn until_rows_are_stored(connection: &mut PgConnection) {
    until(connection, "rows are stored", "select count(*) >= 5000 from sales.sales_transaction").await;
}

/// Sales, different rows of the source, items.
async fn counts(connection: &mut PgConnection) -> (i64, i64, i64) {
    let sql = "select (select count(*) from sales.sales_transaction),
        (select count(distinct cashier_id) from sales.sales_transaction), (select count(*) from sales.sales_item)";
    sqlx::query_as(sql).fetch_one(connection).await.unwrap()
}

async fn assert_stored_once(pair: &TestPair, last: i64, receipt: &ImportReceipt) {
    assert_eq!((receipt.rows_written, receipt.items_written), (last, 2 * last));
    let mut primary = PgConnection::connect(&pair.url(Login::PrimaryAdmin)).await.unwrap();
    assert_eq!(counts(&mut primary).await, (last, last, 2 * last), "on the primary");
    let mut replica = PgConnection::connect(&pair.url(Login::ReplicaAdmin)).await.unwrap();
    let begun = Instant::now();
    while counts(&mut replica).await != (last, last, 2 * last) {
        assert!(begun.elapsed() < PATIENCE, "the replica has not what the primary has");
        sleep(BETWEEN_TRIES).await;
    }
}

async fn program(pair: &TestPair, further: &[(&str, &str)]) -> Program {
    let program = Program::start(pair, Service::Command, further).await.unwrap();
    health::until(program.grpc, "", Serving, PATIENCE).await;
    program
}

fn commands(program: &Program) -> Commands {
    SalesCommandServiceClient::new(channel(program.grpc))
}

#[tokio::test]
async fn each_row_is_there_once_though_the_service_is_killed_twice_in_the_middle() {
    const LAST: i64 = 40_000;
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let mut admin = pair.primary().connect("tandem").await.unwrap();
    let running = tokio::sync::Mutex::new(program(&pair, &[]).await);
    let start = new_import();
    let importing = send_until_stored(async || commands(&*running.lock().await), &start, LAST);
    let killing = async {
        for question in [
            "select count(*) >= 5000 from sales.sales_transaction",
            "select count(*) >= 20000 from sales.sales_transaction",
        ] {
            until(&mut admin, "rows are stored", question).await;
            let mut running = running.lock().await;
            // Dropping the old one kills it.
            *running = program(&pair, &[]).await;
        }
    };
    let ((receipt, tries), ()) = tokio::join!(importing, killing);
    assert!(tries > 0, "the kill was not felt: the test proves nothing");
    assert_stored_once(&pair, LAST, &receipt).await;
}

#[tokio::test]
async fn each_row_is_there_once_though_the_primary_is_killed_in_the_middle() {
    const LAST: i64 = 40_000;
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let mut admin = tandem.primary().await;
    let start = new_import();
    let importing = send_until_stored(async || tandem.commands(), &start, LAST);
    let killing = async {
        until_rows_are_stored(&mut admin).await;
        tandem.pair.primary().kill().await.unwrap();
        tandem.pair.primary().start().await.unwrap();
    };
    let ((receipt, tries), ()) = tokio::join!(importing, killing);
    assert!(tries > 0, "the kill was not felt: the test proves nothing");
    assert_stored_once(&tandem.pair, LAST, &receipt).await;
}

#[tokio::test]
async fn a_caller_that_breaks_its_connection_resumes_behind_its_last_acknowledgement() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let start = new_import();
    let mut heard = 0;
    for _ in 0..3 {
        let mut stream = ImportStream::start(&tandem.commands(), &resumed(&start, heard)).await.unwrap();
        let durable = stream.started.last_row_number;
        assert!(durable >= heard);
        stream.rows(durable + 1, rows(1, durable + 1..=durable + 1_000)).await;
        heard = stream.until(durable + 1_000).await.unwrap().acknowledged.unwrap().last_row_number;
        // Never acknowledged: the connection goes with the stream.
        stream.rows(heard + 1, rows(1, heard + 1..=heard + 300)).await;
        drop(stream);
    }
    let receipt = send_all(&tandem.commands(), &start, 5_000, &mut heard).await.unwrap();
    assert_stored_once(&tandem.pair, 5_000, &receipt).await;
}

#[tokio::test]
async fn a_service_that_ends_in_the_middle_says_so_after_its_chunk_and_does_not_hold_up_its_end() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let first = program(&pair, &[]).await;
    let start = new_import();
    let mut stream = ImportStream::start(&commands(&first), &start).await.unwrap();
    stream.rows(1, rows(1, 1..=100)).await;
    stream.until(100).await.unwrap();
    let terminated = Instant::now();
    first.terminate().unwrap();
    let status = stream.end().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SHUTTING_DOWN"), "{status:?}");
    assert!(status.get_details_retry_info().is_some());
    let (exit, log) = first.ended().await.unwrap();
    assert_eq!(exit.code(), Some(0), "{log:#?}");
    assert!(terminated.elapsed() < Duration::from_secs(5), "the end took {:?}", terminated.elapsed());
    let second = program(&pair, &[]).await;
    let receipt = send_all(&commands(&second), &start, 3_000, &mut 100).await.unwrap();
    assert_stored_once(&pair, 3_000, &receipt).await;
}

#[tokio::test]
async fn a_chunk_that_is_being_written_when_the_service_ends_is_written_and_acknowledged() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let program = program(&pair, &[]).await;
    let mut holder = pair.primary().connect("tandem").await.unwrap();
    let mut watcher = pair.primary().connect("tandem").await.unwrap();
    let mut stream = ImportStream::start(&commands(&program), &new_import()).await.unwrap();
    holder.execute("begin; lock table sales.sales_transaction in exclusive mode").await.unwrap();
    stream.rows(1, rows(1, 1..=100)).await;
    until_command_waits_for_a_lock(&mut watcher).await;
    // Gathered while the first chunk is written: never begun.
    stream.rows(101, rows(1, 101..=200)).await;
    program.terminate().unwrap();
    program.line(|line| line["message"] == "draining" && line["calls"] == 1).await.unwrap();
    holder.execute("rollback").await.unwrap();
    assert_eq!(stream.until(100).await.unwrap().acknowledged.unwrap().last_row_number, 100);
    assert_eq!(reason(&stream.end().await.unwrap_err()), "SHUTTING_DOWN");
    assert_eq!(program.ended().await.unwrap().0.code(), Some(0));
    assert_eq!(counts(&mut watcher).await, (100, 100, 200));
}

#[tokio::test]
async fn one_import_too_many_is_refused_at_once_and_let_in_when_another_has_ended() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let tandem = Tandem::serve(pair, &["--imports", "1"]).await.unwrap();
    let start = new_import();
    let first = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    let status = ImportStream::start(&tandem.commands(), &new_import()).await.err().unwrap();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_IMPORTS"));
    assert!(status.get_details_retry_info().is_some());
    let newer = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    assert_eq!(reason(&first.end().await.unwrap_err()), "IMPORT_SUPERSEDED", "a newer stream takes the older's place");
    newer.finish(0).await;
    assert_eq!(newer.end().await.unwrap().receipt.unwrap().rows_written, 0);
    for _ in 0..3 {
        let receipt = send_all(&tandem.commands(), &new_import(), 10, &mut 0).await.unwrap();
        assert_eq!(receipt.rows_written, 10, "the place is free before the receipt is heard");
    }
}

#[tokio::test]
async fn a_caller_that_says_nothing_for_too_long_loses_its_place() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let tandem = Tandem::serve(pair, &["--imports", "1", "--import-idle", "500ms"]).await.unwrap();
    let start = ImportStart { all_or_nothing: true, ..new_import() };
    let stream = ImportStream::start(&tandem.commands(), &start).await.unwrap();
    stream.rows(1, rows(1, 1..=10)).await;
    let status = stream.end().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "IMPORT_IDLE"));
    assert_eq!(counts(&mut tandem.primary().await).await, (0, 0, 0));
    ImportStream::start(&tandem.commands(), &new_import()).await.unwrap();
}

#[tokio::test]
async fn old_imports_are_removed_with_their_refusals_and_young_ones_stay() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let mut admin = pair.primary().connect("tandem").await.unwrap();
    let old = "
        insert into tandem.import
        select gen_random_uuid(), false, 1, 1, 0, 0, 1, 0, 0, sha256('x'), now() - interval '8 days' * (number % 2),
            number % 4 < 2
        from generate_series(1, 100) as number;
        insert into tandem.import_refusal select import_id, 1, 'INVALID_FIELDS', '[]' from tandem.import
    ";
    admin.execute(old).await.unwrap();
    let _tandem = Tandem::serve(pair, &[]).await.unwrap();
    let question = "select count(*) = 50 from tandem.import";
    until(&mut admin, "old imports are removed", question).await;
    let left: i64 =
        sqlx::query_scalar("select count(*) from tandem.import_refusal").fetch_one(&mut admin).await.unwrap();
    assert_eq!(left, 50);
}
