//! `tandem-verify` as it is run: exit codes, JSON, and what is left of it when it is killed.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tandem_tests::database::until;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use xtask::postgres::DATABASE;
use xtask::service::Binaries;

use crate::{Shop, run};

/// How long the program may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

async fn verifier(shop: &Shop, arguments: &[&str]) -> Child {
    let mut command = Command::new(Binaries::from_environment().await.unwrap().verifier());
    command
        .args(arguments)
        .args(["--output", "json", "--timeout", "20"])
        .env("TANDEM_VERIFY_PRIMARY_URL", shop.pair.primary().admin_url())
        .env("TANDEM_VERIFY_REPLICA_URL", shop.pair.replica().admin_url())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.spawn().unwrap()
}

async fn ended(verifier: Child) -> (Option<i32>, Value) {
    let Output { status, stdout, stderr } = timeout(PATIENCE, verifier.wait_with_output()).await.unwrap().unwrap();
    let printed = serde_json::from_slice(&stdout);
    (status.code(), printed.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr))))
}

async fn verify(shop: &Shop, arguments: &[&str]) -> (Option<i32>, Value) {
    ended(verifier(shop, arguments).await).await
}

pub const NO_SLOT: &str =
    "select not exists (select from pg_replication_slots where slot_name like 'tandem\\_verify\\_%')";

/// A verifier has set the first mark of a fence.
pub const BEGUN: &str = "select exists (
    select from pg_stat_activity
    where application_name = 'tandem-verify' and query like 'select pg_current_wal_flush_lsn()%'
)";

/// Keeps the replica from applying, and starts a verifier that has begun its first fence.
async fn held_in_its_fence(shop: &mut Shop) -> (Child, sqlx::PgConnection) {
    let mut blocker = shop.pair.replica().connect(DATABASE).await.unwrap();
    run(&mut blocker, "begin; lock table shop.line in share row exclusive mode").await;
    shop.on_primary("insert into shop.line (id, amount) values (1, 1); delete from shop.line").await;
    let child = verifier(shop, &[]).await;
    until(&mut shop.primary, "the first mark is set", BEGUN).await;
    (child, blocker)
}

#[tokio::test]
async fn the_program_says_by_exit_code_and_json_what_it_found() {
    let mut shop = Shop::open().await;
    assert!(shop.check().await.equal);
    let (code, report) = verify(&shop, &[]).await;
    assert_eq!((code, &report["equal"]), (Some(0), &Value::Bool(true)));

    shop.on_replica(
        "delete from shop.receipt where id = 4; update shop.receipt set total = 0, note = null where id = 5",
    )
    .await;
    let (code, report) = verify(&shop, &["--repair"]).await;
    assert_eq!((code, &report["equal"]), (Some(1), &Value::Bool(false)));
    let receipt = &report["tables"][2];
    assert_eq!((&receipt["table"], &receipt["rows"]), (&json!("shop.receipt"), &json!(1_000)));
    let differences = json!([
        {"key": "4", "kind": "missing", "columns": []},
        {"key": "5", "kind": "different", "columns": ["note", "total"]},
    ]);
    assert_eq!(receipt["differences"], differences);
    let plan = json!([{"table": "shop.receipt", "insert": 1, "update": 1, "delete": 0}]);
    assert_eq!(report["repair"], json!({"plan": plan, "carried_out": false, "mended": 0}));
    assert_eq!(verify(&shop, &[]).await.0, Some(1), "a plan changes nothing");
    let (code, report) = verify(&shop, &["--repair", "--yes"]).await;
    assert_eq!((code, &report["repair"]["mended"]), (Some(0), &json!(2)));

    let (code, report) = verify(&shop, &["--sample", "100", "--range-size", "10"]).await;
    let receipt = &report["tables"][2];
    assert_eq!((code, &report["equal"]), (Some(0), &Value::Bool(true)));
    assert!(receipt["rows"].as_u64().unwrap() <= 1_000, "{report}");
    until(&mut shop.primary, "no slot is left", NO_SLOT).await;
}

#[tokio::test]
async fn truncate_and_ddl_within_a_fence_end_the_program_with_exit_code_2() {
    let mut shop = Shop::open().await;
    assert!(shop.check().await.equal);
    for (statement, why) in [
        ("truncate shop.receipt", "was truncated while it was compared"),
        (
            "alter table shop.receipt alter column note set default ''; alter table shop.receipt add column more integer",
            "DDL",
        ),
    ] {
        let (child, mut blocker) = held_in_its_fence(&mut shop).await;
        shop.on_primary(statement).await;
        run(&mut blocker, "rollback").await;
        let (code, said) = ended(child).await;
        assert_eq!((code, &said["equal"]), (Some(2), &Value::Null), "{said}");
        assert!(said["error"].as_str().unwrap().contains(why), "{said}");
        until(&mut shop.primary, "the slot has gone with the program", NO_SLOT).await;
    }
}

#[tokio::test]
async fn of_a_program_that_was_killed_nothing_is_left_that_the_next_one_does_not_take_away() {
    let mut shop = Shop::open().await;
    assert!(shop.check().await.equal);
    let (mut child, mut blocker) = held_in_its_fence(&mut shop).await;
    until(&mut shop.primary, "it has a slot", "select count(*) = 1 from pg_replication_slots where temporary").await;
    child.kill().await.unwrap();
    until(&mut shop.primary, "its slot has gone with it", NO_SLOT).await;
    run(&mut blocker, "rollback").await;

    shop.on_primary("select pg_create_logical_replication_slot('tandem_verify_1_1', 'pgoutput')").await;
    let (code, report) = verify(&shop, &[]).await;
    assert_eq!((code, &report["leftovers"]), (Some(0), &json!([{"slot": "tandem_verify_1_1", "pid": null}])));
    until(&mut shop.primary, "the leftover is gone", NO_SLOT).await;

    // A session that hangs on, whose verifier has been silent for long.
    let mut silent = shop.pair.primary().connect(DATABASE).await.unwrap();
    run(&mut silent, "select pg_create_logical_replication_slot('tandem_verify_2_2', 'pgoutput', true)").await;
    let at_work = tandem_convergence::leftover::find(&mut shop.primary, Duration::from_secs(60)).await.unwrap();
    assert_eq!(at_work, [], "one that spoke a moment ago is at work");
    let gone = tandem_convergence::leftover::drop_all(&mut shop.primary, Duration::ZERO).await.unwrap();
    assert_eq!(gone.len(), 1);
    until(&mut shop.primary, "the silent one is gone", NO_SLOT).await;
}
