//! Real servers: a test pair lives as long as its test and no longer; a cluster survives what crashes leave.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use xtask::postgres::{Cluster, Login, Mode, TestOptions, TestPair};
use xtask::process::{Pid, all_working_in, exists, read_pid_file, wait_until_gone};

/// How long the end of a killed test's servers may take on a busy machine.
const GONE_LIMIT: Duration = Duration::from_secs(30);

/// Set in the child process that this test binary starts as a test of its own to be killed.
const VICTIM_VARIABLE: &str = "TANDEM_TEST_VICTIM";

async fn answer(cluster: &Cluster) -> i32 {
    let mut connection = PgConnection::connect(&cluster.admin_url()).await.unwrap();
    sqlx::query_scalar("select 42").fetch_one(&mut connection).await.unwrap()
}

fn servers(pair: &TestPair) -> Vec<Pid> {
    [pair.primary(), pair.replica()].map(|cluster| cluster.postmaster().unwrap()).to_vec()
}

#[tokio::test]
async fn a_dropped_pair_leaves_no_server_and_no_directory() {
    let pair = TestPair::bare(TestOptions::default()).await.unwrap();
    assert_eq!(answer(pair.primary()).await, 42);
    assert_eq!(answer(pair.replica()).await, 42);
    let (directory, servers) = (pair.directory().to_owned(), servers(&pair));
    drop(pair);
    assert!(!directory.exists());
    assert!(!servers.into_iter().any(alive));
}

#[tokio::test]
async fn a_test_that_is_killed_leaves_no_server_and_no_directory() {
    if std::env::var_os(VICTIM_VARIABLE).is_some() {
        be_the_victim().await;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "a_test_that_is_killed_leaves_no_server_and_no_directory"])
        .env(VICTIM_VARIABLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let ready = output.lines().map(Result::unwrap).find(|line| line.contains("victim at "));
    let directory = PathBuf::from(ready.unwrap().split_once("victim at ").unwrap().1);
    let servers: Vec<Pid> = ["primary", "replica"]
        .iter()
        .map(|name| read_pid_file(&directory.join(name).join("data/postmaster.pid")).unwrap())
        .collect();
    assert!(servers.iter().all(|pid| alive(*pid)));
    victim.kill().unwrap();
    victim.wait().unwrap();
    let left = || directory.exists() || servers.iter().any(|pid| alive(*pid));
    assert!(wait_until_gone(GONE_LIMIT, left).await);
}

async fn be_the_victim() -> ! {
    let pair = TestPair::bare(TestOptions::default()).await.unwrap();
    println!("\nvictim at {}", pair.directory().display());
    std::future::pending().await
}

#[tokio::test]
async fn a_cluster_stops_dies_and_starts_again_with_its_data() {
    let pair = TestPair::bare(TestOptions::default()).await.unwrap();
    let primary = pair.primary();
    let mut connection = PgConnection::connect(&primary.admin_url()).await.unwrap();
    sqlx::query("create table kept (id integer)").execute(&mut connection).await.unwrap();
    sqlx::query("insert into kept (id) values (42)").execute(&mut connection).await.unwrap();
    for mode in [Mode::Fast, Mode::Immediate, Mode::Kill] {
        primary.stop(mode).await.unwrap();
        assert!(primary.postmaster().is_none());
        assert!(all_working_in(&primary.data_directory()).is_empty());
        assert!(PgConnection::connect(&primary.admin_url()).await.is_err());
        primary.start().await.unwrap();
        let mut connection = PgConnection::connect(&primary.admin_url()).await.unwrap();
        let kept: i32 = sqlx::query_scalar("select id from kept").fetch_one(&mut connection).await.unwrap();
        assert_eq!(kept, 42);
    }
    primary.restart().await.unwrap();
    assert_eq!(answer(primary).await, 42);
}

#[tokio::test]
async fn a_process_id_that_somebody_else_has_got_does_not_stop_a_start() {
    let pair = TestPair::bare(TestOptions::default()).await.unwrap();
    let primary = pair.primary();
    primary.stop(Mode::Fast).await.unwrap();
    // A process of the same user that is no server: what a reboot leaves behind.
    let replica = pair.replica().postmaster().unwrap().as_raw_pid();
    let data = primary.data_directory();
    let record = format!("{replica}\n{}\n1\n{}\n\n127.0.0.1\n", data.display(), primary.port());
    fs::write(data.join("postmaster.pid"), record).unwrap();
    assert!(primary.postmaster().is_none());
    primary.start().await.unwrap();
    assert_eq!(answer(primary).await, 42);
    assert_eq!(answer(pair.replica()).await, 42);
}

#[tokio::test]
async fn a_data_directory_that_was_half_made_is_made_anew() {
    let pair = TestPair::bare(TestOptions::default()).await.unwrap();
    let primary = pair.primary();
    primary.stop(Mode::Fast).await.unwrap();
    let directory = primary.data_directory().parent().map(Path::to_owned).unwrap();
    fs::rename(primary.data_directory(), directory.join("unfinished.1")).unwrap();
    assert!(primary.create().await.unwrap());
    primary.start().await.unwrap();
    primary.create_database().await.unwrap();
    assert_eq!(answer(primary).await, 42);
    assert!(!directory.join("unfinished.1").exists());
}

#[tokio::test]
async fn a_started_pair_copies_and_lets_each_role_in_on_its_side() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    for login in [Login::Command, Login::Query, Login::Monitor, Login::Replication] {
        PgConnection::connect(&pair.url(login)).await.unwrap();
    }
    let mut primary = PgConnection::connect(&pair.url(Login::PrimaryAdmin)).await.unwrap();
    let insert = "insert into tandem.watermark (writer, system_identifier, timeline, lsn, written_at) \
                  values ('test', 1, 1, '0/1', now())";
    sqlx::query(insert).execute(&mut primary).await.unwrap();
    let mut replica = PgConnection::connect(&pair.url(Login::Query)).await.unwrap();
    let deadline = tokio::time::Instant::now() + GONE_LIMIT;
    let arrived = "select exists (select from tandem.watermark where writer = 'test')";
    while !sqlx::query_scalar::<_, bool>(arrived).fetch_one(&mut replica).await.unwrap() {
        assert!(tokio::time::Instant::now() < deadline, "nothing has arrived");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let pair = TestPair::bare(TestOptions::default()).await.unwrap();
    let right = pair.passwords().expose(Login::PrimaryAdmin);
    let wrong = pair.primary().admin_url().replace(right, "wrong");
    assert!(PgConnection::connect(&wrong).await.is_err());
}

#[tokio::test]
async fn settings_of_a_test_reach_the_server_it_names() {
    let options = TestOptions {
        primary_settings: vec![("max_slot_wal_keep_size".to_owned(), "64MB".to_owned())],
        durable: true,
        ..TestOptions::default()
    };
    let pair = TestPair::bare(options).await.unwrap();
    for (cluster, expected) in [(pair.primary(), "64MB"), (pair.replica(), "2GB")] {
        let mut connection = PgConnection::connect(&cluster.admin_url()).await.unwrap();
        let (kept, fsync): (String, String) =
            sqlx::query_as("select current_setting('max_slot_wal_keep_size'), current_setting('fsync')")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        assert_eq!((kept.as_str(), fsync.as_str()), (expected, "on"));
    }
}

/// Whether a process is there and no zombie: what has nobody to reap it stays as one for good.
fn alive(pid: Pid) -> bool {
    exists(pid) && xtask::process::command_line(pid).is_some()
}
