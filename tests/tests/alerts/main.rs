//! Each alert that is shipped fires for its trouble, caused for real, and for nothing else.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

mod scene;

use std::{collections::BTreeSet, fs};

use regex::Regex;
use tandem_tests::{
    machine::workspace,
    prometheus::{check_rules, hurried},
};

use self::scene::Scene;

/// Names of alerts and what stands in their `runbook`.
fn alerts(rules: &str) -> Vec<(String, String)> {
    let pattern = Regex::new(r"alert: (\w+)|runbook: (\S+)").unwrap();
    let words: Vec<_> =
        pattern.captures_iter(rules).map(|found| found[0].split_once(": ").unwrap().1.to_owned()).collect();
    words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn rules() -> String {
    fs::read_to_string(workspace().join("deploy/alerts/tandem.rules.yaml")).unwrap()
}

#[test]
fn the_rules_are_what_prometheus_can_read_and_each_alert_has_a_runbook() {
    let told = check_rules(&workspace().join("deploy/alerts/tandem.rules.yaml")).unwrap();
    let alerts = alerts(&rules());
    assert!(told.contains(&format!("{} rules found", alerts.len())), "{told}");
    for (name, runbook) in &alerts {
        assert_eq!(runbook, &format!("deploy/runbooks/{name}.md"));
        let text = fs::read_to_string(workspace().join(runbook)).unwrap_or_else(|error| panic!("{runbook}: {error}"));
        assert!(text.starts_with(&format!("# {name}\n")), "{runbook}");
    }
    let of_alerts: BTreeSet<_> = alerts.into_iter().map(|(name, _)| format!("{name}.md")).collect();
    let there = fs::read_dir(workspace().join("deploy/runbooks")).unwrap();
    let there = there.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let without: Vec<_> = there.filter(|name| name.starts_with("Tandem") && !of_alerts.contains(name)).collect();
    assert!(without.is_empty(), "runbooks of no alert: {without:?}");
}

/// What the runbooks have one ask of `primary` or `replica`, apart from what has a blank to fill in.
fn questions(side: &str) -> Vec<String> {
    let pattern = Regex::new(&format!(r#"{side} "(select [^"]+)""#)).unwrap();
    let blank = Regex::new(r"\b(PID|THE_ID)\b").unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir(workspace().join("deploy/runbooks")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        found.extend(pattern.captures_iter(&text).map(|found| found[1].replace('\n', " ")));
    }
    found.retain(|question| !blank.is_match(question));
    assert!(!found.is_empty());
    found
}

/// One pair, one trouble after the other: each is caused, seen by exactly its alerts, and mended, which silences them.
#[tokio::test]
async fn every_alert_fires_for_its_trouble_and_is_silent_without() {
    let mut scene = Scene::start(&hurried(&rules())).await.unwrap();
    scene.expect(&[]).await;
    scene.ask(questions("primary"), questions("replica")).await;

    scene.spoil_the_replica().await;
    scene.expect(&["TandemSidesDiffer"]).await;
    scene.remove_the_conflict().await;
    scene.expect(&[]).await;

    scene.leave_a_slot_behind().await;
    scene.change_one_side_alone().await;
    let held = scene.hold_up_the_rollups().await;
    scene.expect(&["TandemOrphanSlot", "TandemSchemaDrift", "TandemRollupsStandStill"]).await;
    scene.remove_the_slot().await;
    scene.change_the_side_back().await;
    held.let_go().await;

    let frozen = scene.freeze_the_apply_worker().await;
    scene.expect(&["TandemReplicationStuck", "TandemReplicaStale", "TandemVerifyOverdue"]).await;
    drop(frozen);
    scene.expect(&[]).await;

    scene.rename_the_subscription("away").await;
    scene.lock_out("tandem_monitor").await;
    scene.expect(&["TandemUnsubscribed", "TandemPrimaryUnreachable"]).await;
    scene.rename_the_subscription("tandem_subscription").await;
    scene.let_in("tandem_monitor").await;
    scene.expect(&[]).await;

    scene.plant_a_conflict().await;
    scene.expect(&["TandemApplyFailing"]).await;
    scene.remove_the_conflict().await;
    scene.expect(&[]).await;

    let held = scene.hold_up_a_copy().await;
    scene.expect(&["TandemTablesNotCopied"]).await;
    held.let_go().await;
    scene.expect(&[]).await;

    scene.lock_out("tandem_replication").await;
    scene.expect(&["TandemReplicaDisconnected"]).await;
    scene.let_in("tandem_replication").await;
    scene.expect(&[]).await;

    scene.disable().await;
    scene.expect(&["TandemSubscriptionDisabled"]).await;
    scene.fill_wal_until("safe_wal_size < 16 * 1024 * 1024").await;
    scene.expect(&["TandemSubscriptionDisabled", "TandemSlotEndangered"]).await;
    scene.fill_wal_until("wal_status = 'lost'").await;
    scene.expect(&["TandemSubscriptionDisabled", "TandemSlotLost"]).await;

    scene.stop_the_replica().await;
    scene.expect(&["TandemReplicaUnreachable", "TandemSlotLost"]).await;
    scene.kill_the_service().await;
    scene.expect(&["TandemQueryServiceDown"]).await;

    let shipped: BTreeSet<_> = alerts(&rules()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(scene.seen(), &shipped, "each alert has its scene");
}
