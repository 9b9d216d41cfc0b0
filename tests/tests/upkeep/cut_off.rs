//! Programs of upkeep that are stopped or killed in the middle, as the processes that they are.

use std::process::{Output, Stdio};

use serde_json::Value;
use sqlx::PgConnection;
use tandem_tests::{database::until, program::run_to_end};
use tokio::process::{Child, Command};
use xtask::process::{Pid, Signal, signal};

use super::{alone, migration, operation, run};

const SESSIONS: &str = "select not exists (select from pg_stat_activity where application_name = 'tandem-upkeep')";
const BUILDING: &str = "select exists (select from pg_namespace where nspname = 'tandem_resync')";
const NOTHING_BUILT: &str = "select not exists (select from pg_namespace where nspname = 'tandem_resync')";

/// Starts a program, and gives it once it is in the middle: as `question` says on this side.
async fn begun(mut command: Command, side: &mut PgConnection, question: &'static str) -> Child {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(side, "it is in the middle", question).await;
    child
}

/// As Ctrl-C does it: what the program says in the end.
async fn interrupted(child: Child) -> String {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    signal(id.unwrap(), Signal::INT).unwrap();
    let Output { status, stderr, .. } = child.wait_with_output().await.unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{said}");
    said
}

/// Runs it to its end, which is a good one.
async fn ends_well(command: Command) -> Value {
    let Output { status, stdout, stderr } = run_to_end(command).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).unwrap()
}

#[tokio::test]
async fn a_resync_that_is_interrupted_takes_away_what_it_built_and_one_that_was_killed_is_run_again() {
    let tandem = alone().await;
    let (mut primary, mut replica) = (tandem.primary().await, tandem.replica().await);
    let resync = async || operation(&tandem, &["resync", "sales.sales_item", "--yes", "--output", "json"]).await;
    // As a writer, who keeps tables from being swapped.
    let mut writer = tandem.replica().await;
    run(&mut writer, "begin; lock table sales.sales_item in row exclusive mode").await;
    let said = interrupted(begun(resync().await, &mut replica, BUILDING).await).await;
    assert!(said.contains("interrupted: what was built beside the tables is taken away"), "{said}");
    until(&mut replica, "nothing is left", NOTHING_BUILT).await;

    let mut killed = begun(resync().await, &mut replica, BUILDING).await;
    killed.kill().await.unwrap();
    run(&mut writer, "rollback").await;
    for side in [&mut primary, &mut replica] {
        until(side, "its sessions have ended", SESSIONS).await;
    }
    let report = ends_well(resync().await).await;
    assert_eq!(report["verify"]["equal"], true, "{report}");
    until(&mut replica, "nothing is left", NOTHING_BUILT).await;
    let slots = "select count(*) = 1 from pg_replication_slots";
    until(&mut primary, "no slot is left", slots).await;
}

#[tokio::test]
async fn a_change_of_shape_that_is_interrupted_or_killed_while_it_fills_rows_goes_on_where_it_was() {
    let tandem = alone().await;
    let (mut primary, mut replica) = (tandem.primary().await, tandem.replica().await);
    run(&mut primary, super::change::OLD_ROWS).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    // A second and more for each thousand rows.
    let change = "
        table = 'sales.sales_item'
        column = 'shelf'
        type = 'text'
        default = \"'new'\"
        backfill = 'product_code || pg_sleep(0.001)::text'";
    std::fs::write(file.path(), change).unwrap();
    let path = file.path().to_str().unwrap();
    let apply = async |further: &[&str]| {
        let arguments = [&["apply", "--change", path, "--yes", "--output", "json"], further].concat();
        migration(&tandem.pair, &arguments).await
    };
    let filling = "select exists (
        select from pg_stat_activity
        where application_name = 'tandem-upkeep' and state = 'active' and query like '%skip locked%'
    )";
    let unfilled = "select exists (select from sales.sales_item where shelf is null)";
    let said = interrupted(begun(apply(&[]).await, &mut primary, filling).await).await;
    assert!(said.contains("interrupted: the steps that were done stay") && said.contains("`apply` goes on"), "{said}");
    until(&mut primary, "its sessions have ended", SESSIONS).await;
    let mut killed = begun(apply(&[]).await, &mut primary, filling).await;
    killed.kill().await.unwrap();
    for side in [&mut primary, &mut replica] {
        until(side, "its sessions have ended", SESSIONS).await;
    }
    until(&mut primary, "it was cut off in the middle", unfilled).await;
    let done = ends_well(apply(&[]).await).await;
    assert_eq!(done["verify"][0]["equal"], true, "{done}");
    let left = "select not exists (select from sales.sales_item where shelf is null)";
    assert!(sqlx::query_scalar::<_, bool>(left).fetch_one(&mut replica).await.unwrap());
    let gone = ends_well(apply(&["--contract"]).await).await;
    assert_eq!(gone["verify"][0]["equal"], true, "{gone}");
}
