//! `cargo xtask seed --batch-id`: batches of sample sales, registered, named, written into files, and written once.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::{fs, time::Duration};

use clap::Parser;
use sqlx::PgConnection;
use tandem_proto::sales::query::v1::WaitForBatchRequest;
use tandem_tests::{Tandem, request::within};
use tempfile::TempDir;
use uuid::Uuid;
use xtask::{
    postgres::Login,
    seed::{self, with_settings},
};

/// Whoever waits longer than this for a batch is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    seed: seed::Args,
}

/// Runs the command on the shared pair.
async fn seed(flags: &[&str]) -> anyhow::Result<()> {
    let tandem = Tandem::shared().await;
    let (address, primary) = (tandem.command_address().to_string(), tandem.pair.url(Login::PrimaryAdmin));
    seed_with(&[&["--command-address", &address, "--primary-url", &primary], flags].concat()).await
}

async fn seed_with(flags: &[&str]) -> anyhow::Result<()> {
    let arguments = ["xtask", "seed"].iter().chain(flags).map(Into::into).collect();
    let mut arguments = with_settings(arguments)?;
    arguments.remove(1);
    seed::run(&Command::try_parse_from(arguments)?.seed).await.map(drop)
}

async fn refused(flags: &[&str]) -> String {
    format!("{:#}", seed(flags).await.unwrap_err())
}

/// Status, rows and error of both tables, the items first.
async fn registered(connection: &mut PgConnection, batch_id: &str) -> Vec<(String, Option<i64>, Option<String>)> {
    let sql = "select status, row_count, error from tandem.batch_control where batch_id = $1 order by table_name";
    sqlx::query_as(sql).bind(batch_id).fetch_all(connection).await.unwrap()
}

/// Items and sales that are stored of those that a batch names.
async fn named(connection: &mut PgConnection, batch_id: &str) -> (i64, i64) {
    let sql = "
        with named as (select unnest(transaction_ids) as id from tandem.batch_part where batch_id = $1)
        select (select count(*) from sales.sales_item where transaction_id in (select id from named)),
            (select count(*) from sales.sales_transaction where transaction_id in (select id from named))
    ";
    sqlx::query_as(sql).bind(batch_id).fetch_one(connection).await.unwrap()
}

async fn assert_complete(batch_id: &str, sales: i64) {
    let tandem = Tandem::shared().await;
    let mut primary = tandem.primary().await;
    let stored = named(&mut primary, batch_id).await;
    assert_eq!(stored.1, sales, "{batch_id}");
    let expected = [stored.0, stored.1].map(|rows| ("COMPLETED".to_owned(), Some(rows), None));
    assert_eq!(registered(&mut primary, batch_id).await, expected);
    let asked = WaitForBatchRequest { batch_id: batch_id.to_owned() };
    let mut waiting = tandem.replication().wait_for_batch(within(asked, PATIENCE)).await.unwrap().into_inner();
    while waiting.message().await.unwrap().is_some() {}
    // What is ready there can be read there.
    let ids: Vec<Uuid> =
        sqlx::query_scalar("select unnest(transaction_ids) from tandem.batch_part where batch_id = $1")
            .bind(batch_id)
            .fetch_all(&mut primary)
            .await
            .unwrap();
    let sql = "select count(*) from sales.sales_transaction where transaction_id = any($1)";
    let readable: i64 = sqlx::query_scalar(sql).bind(ids).fetch_one(&mut tandem.replica().await).await.unwrap();
    assert_eq!(readable, sales);
}

/// Lines of a batch's files, headers included.
fn lines(directory: &TempDir, batch_id: &str) -> [usize; 2] {
    ["sales_item", "sales_transaction"].map(|table| {
        let file = fs::read_to_string(directory.path().join(format!("{batch_id}.{table}.csv"))).unwrap();
        assert!(file.lines().next().unwrap().contains("transaction_id,"), "{file}");
        file.lines().count()
    })
}

#[tokio::test]
async fn a_batch_of_each_way_is_complete_named_and_in_its_files_and_is_written_once() {
    let feeds = TempDir::new().unwrap();
    let directory = feeds.path().to_str().unwrap();
    let import = Uuid::now_v7().to_string();
    for (via, batch_id, size) in [("grpc", "of-tills", 150), ("copy", "of-files", 250), ("import", &*import, 120)] {
        let count = size.to_string();
        let flags =
            ["--batch-id", batch_id, "--batch-size", &count, "--via", via, "--csv", directory, "--rng-seed", "9"];
        seed(&flags).await.unwrap();
        assert_complete(batch_id, size).await;
        let mut primary = Tandem::shared().await.primary().await;
        let (items, sales) = named(&mut primary, batch_id).await;
        assert_eq!(lines(&feeds, batch_id).map(|lines| lines as i64), [items + 1, sales + 1], "{via}");
        // Once more: nothing is written, and the files are.
        fs::remove_file(feeds.path().join(format!("{batch_id}.sales_item.csv"))).unwrap();
        seed(&flags).await.unwrap();
        assert_eq!(named(&mut primary, batch_id).await, (items, sales), "{via}");
        lines(&feeds, batch_id);
    }
    assert_eq!(fs::read_dir(feeds.path()).unwrap().count(), 6, "nothing unfinished is left");
}

#[tokio::test]
async fn settings_come_from_a_file_and_flags_win() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "batch_id = \"of-a-file\"\nbatch_size = 7\nvia = \"copy\"\nrng_seed = 77\n").unwrap();
    seed(&["--settings", file.path().to_str().unwrap(), "--batch-size", "9"]).await.unwrap();
    assert_complete("of-a-file", 9).await;
}

#[tokio::test]
async fn a_batch_that_fails_says_why_and_its_id_is_not_used_again() {
    let copied = ["--via", "copy", "--batch-size", "30", "--rng-seed", "4711", "--batch-id"];
    seed(&[&copied[..], &["first-of-its-seed"]].concat()).await.unwrap();
    let second = [&copied[..], &["second-of-its-seed"]].concat();
    let error = refused(&second).await;
    assert!(error.contains("second-of-its-seed is FAILED") && error.contains("--rng-seed"), "{error}");
    let mut primary = Tandem::shared().await.primary().await;
    let batch = registered(&mut primary, "second-of-its-seed").await;
    for (status, rows, error) in &batch {
        assert_eq!((status.as_str(), *rows), ("FAILED", Some(0)));
        assert!(error.as_ref().unwrap().contains("are there already"), "{error:?}");
    }
    assert_eq!(named(&mut primary, "second-of-its-seed").await, (0, 0));
    let again = refused(&second).await;
    assert!(again.contains("failed (") && again.contains("choose another --batch-id"), "{again}");
}

#[tokio::test]
async fn a_batch_whose_seed_was_killed_has_failed_and_one_that_is_being_written_is_left_alone() {
    let tandem = Tandem::shared().await;
    let mut primary = tandem.primary().await;
    let begun = "
        insert into tandem.batch_control (batch_id, schema_name, table_name, status, started_at)
        select 'left-behind', 'sales', table_name, 'IN_PROGRESS', now()
        from unnest(array['sales_item', 'sales_transaction']) as table_name
    ";
    sqlx::query(begun).execute(&mut primary).await.unwrap();
    // As a seed that writes it.
    let mut writer = tandem.primary().await;
    let lock = "select pg_advisory_lock(hashtextextended('tandem batch left-behind', 0))";
    sqlx::query(lock).execute(&mut writer).await.unwrap();
    let flags = ["--batch-id", "left-behind", "--via", "copy"];
    let error = refused(&flags).await;
    assert!(error.contains("is being written"), "{error}");
    assert_eq!(registered(&mut primary, "left-behind").await[0].0, "IN_PROGRESS");
    sqlx::Connection::close(writer).await.unwrap();
    let error = refused(&flags).await;
    assert!(error.contains("failed (its seed was killed)"), "{error}");
    assert_eq!(registered(&mut primary, "left-behind").await[1].0, "FAILED");
}

#[tokio::test]
async fn what_can_be_no_batch_is_refused_before_anything_is_written() {
    let address = Tandem::shared().await.command_address().to_string();
    let nowhere = seed_with(&["--command-address", &address, "--batch-id", "nowhere"]).await.unwrap_err();
    assert!(nowhere.to_string().contains("--primary-url"), "{nowhere}");
    for (flags, expected) in [
        (&["--batch-id", "nightly", "--via", "import"][..], "is a UUID"),
        (&["--batch-id", "a/b"], "letters"),
        (&["--batch-id", "nightly", "--sales", "5"], "--sales"),
        (&["--csv", "/tmp"], "--batch-id"),
        (&["--batch-size", "20000"], "--batch-size"),
    ] {
        let error = refused(flags).await;
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
    let tandem = Tandem::shared().await;
    let (primary, replica) = (tandem.pair.url(Login::PrimaryAdmin), tandem.pair.url(Login::ReplicaAdmin));
    let bulk = ["--via", "bulk", "--primary-url", &primary, "--replica-url", &replica, "--batch-id", "nightly"];
    let error = seed_with(&bulk).await.unwrap_err().to_string();
    assert!(error.contains("--via copy"), "{error}");
    assert_eq!(registered(&mut tandem.primary().await, "nightly").await, []);
}
