//! `cargo xtask up` with more than one replica, and what the other commands make of such a pair.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;
use tandem_tests::machine::{Machine, TypedPair};
use xtask::process::{Pid, Signal, signal};

/// What a command that must fail says.
fn refused(pair: &TypedPair, command: &str) -> String {
    let output = pair.run(command);
    assert!(!output.status.success(), "{command} succeeded");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A line for each replica at each look, and Ctrl-C is no failure.
fn watches_until_interrupted(pair: &TypedPair) {
    let mut command = pair.0.shell("exec cargo xtask status --watch --interval 1");
    let mut watching = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    for of in ["replica-1 healthy", "replica-2 healthy", "replica-1 healthy"] {
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains(of), "{line}");
    }
    // Cargo becomes what it runs.
    signal(Pid::from_child(&watching), Signal::INT).unwrap();
    assert!(watching.wait().unwrap().success());
}

/// The same row for both sides.
const ROW: &str = "insert into sales.sales_transaction (
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount, created_at,
        updated_at, version
    )
    values ('00000000-0000-7000-8000-000000000001', now(), 1, 1, 'cash', 1, 0, now(), now(), 1)";

/// A row in the way and a slot that a verifier has left: named by `status`, each with what to do, which is then done.
fn trouble_is_told_and_what_is_told_helps(pair: &TypedPair) {
    let slot = "select pg_create_logical_replication_slot('tandem_verify_9', 'pgoutput')";
    for (side, statement) in [("primary", slot), ("replica", ROW), ("primary", ROW)] {
        pair.ok(&format!("psql {side} -- -c \"{statement}\""));
    }
    // A look may come between two tries of the worker.
    let failing = (0..10).map(|_| pair.run("status")).find(|status| status.status.code() == Some(1));
    let told = String::from_utf8(failing.expect("apply fails").stdout).unwrap();
    for expected in [
        "replica-1: failing: ",
        "in the way: sales.sales_transaction {\"transaction_id\":\"00000000-0000-7000-8000-000000000001\"}",
        "`cargo xtask heal` shows both rows",
        "the replica's log says:",
        "slot tandem_verify_9 keeps ",
        "whoever verifies next takes it away",
    ] {
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
    assert_eq!(pair.json("heal --yes")["rows"].as_array().unwrap().len(), 1);
    let status = pair.json("status");
    assert_eq!(status["replication"]["orphan_slots"], Value::Array(Vec::new()), "heal has verified");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Name, health, subscription and whether its slot is read, of each replica.
fn replicas(status: &Value) -> Vec<(&str, &str, &str, bool)> {
    let mut found = Vec::new();
    for replica in status["replicas"].as_array().unwrap() {
        let replication = &replica["replication"];
        let (health, subscription) = (text(&replica["query"]["health"]), text(&replication["subscription"]));
        found.push((text(&replica["name"]), health, subscription, replication["slot_active"] == true));
    }
    found
}

#[test]
fn a_second_replica_is_added_to_a_pair_and_every_command_knows_it() {
    let pair = TypedPair(Machine::new().unwrap());
    pair.ok("up --detach --sales 200");
    let status = pair.json("status");
    assert_eq!(replicas(&status), [("replica-1", "SERVING", "tandem_subscription", true)]);
    assert!(refused(&pair, "up --detach --replicas 2").contains("with 1 replica"));
    assert!(refused(&pair, "verify --replica 2").contains("no replica-2"));
    pair.ok("down");

    let summary = pair.ok("up --detach --replicas 2");
    for told in ["answers as replica-1", "answers as replica-2", "cargo xtask psql replica-2"] {
        assert!(summary.contains(told), "{told} is not in {summary}");
    }
    let status = pair.json("status");
    let both = [
        ("replica-1", "SERVING", "tandem_subscription", true),
        ("replica-2", "SERVING", "tandem_subscription_2", true),
    ];
    assert_eq!(replicas(&status), both);
    assert_eq!(status["replica"], status["replicas"][0]["replica"], "the first stands where it stood alone");
    let text = pair.ok("status");
    assert!(text.contains("tandem_subscription_2 enabled") && text.contains("\nquery-2 "), "{text}");

    assert!(text.contains("replica-1: healthy: ") && text.contains("4 of 4 tables ready"), "{text}");
    watches_until_interrupted(&pair);

    let verified = pair.json("verify");
    assert_eq!((&verified["equal"], verified["replicas"].as_array().unwrap().len()), (&Value::Bool(true), 2));
    assert_eq!(pair.json("verify --replica 2")["tables"][1]["rows"], 200, "the sales were copied");
    let bulk = refused(&pair, "seed --via bulk --sales 10");
    assert!(bulk.contains("has 2 replicas") && bulk.contains("--via copy"), "{bulk}");
    trouble_is_told_and_what_is_told_helps(&pair);
    pair.ok("psql replica-2 -- -c 'delete from sales.sales_item'");
    let differs = pair.run("verify");
    assert_eq!(differs.status.code(), Some(1), "one of both differs");
    assert_eq!(pair.run("verify --replica 1").status.code(), Some(0));

    let stopped = pair.run("down");
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("replica-2"));
    assert!(!pair.0.anything_runs().unwrap(), "no process is left behind");
    let fewer = refused(&pair, "up --detach --replicas 1");
    assert!(fewer.contains("this pair has 2 replicas") && fewer.contains("tandem_subscription_2"), "{fewer}");
    pair.ok("reset --yes");
    assert_eq!(pair.run("status").status.code(), Some(3));
}
