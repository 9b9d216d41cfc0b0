//! `cargo xtask promote`, as a developer meets it.

use std::process::Output;

use serde_json::Value;
use tandem_tests::machine::Machine;

/// A pair of this test, down when it is done or has failed.
struct Pair(Machine);

impl Pair {
    fn run(&self, command: &str) -> Output {
        self.0.run(&format!("cargo xtask {command}")).unwrap()
    }

    fn ok(&self, command: &str) -> String {
        let output = self.run(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command} ended with {}\n{said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, command: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{command} --output json"))).unwrap()
    }

    fn asked(&self, side: &str, question: &str) -> String {
        self.ok(&format!("psql {side} -- -Atc \"{question}\"")).trim().to_owned()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _best_effort = self.0.run("cargo xtask down");
    }
}

const IDENTITY: &str = "select system_identifier from pg_control_system()";
/// What a rehearsal must leave as it was. Watermarks go on by themselves.
const LIVE: &str = "select (select count(*) from sales.sales_transaction), (select count(*) from tandem.promotion),
    (select rolcanlogin from pg_roles where rolname = 'tandem_command'),
    (select string_agg(slot_name || active, ',') from pg_replication_slots)";

#[test]
fn a_rehearsal_touches_nothing_and_a_promotion_exchanges_the_clusters_of_a_local_pair() {
    let pair = Pair(Machine::new().unwrap());
    pair.ok("up --detach --sales 200");
    let (primary, replica) = (pair.asked("primary", IDENTITY), pair.asked("replica", IDENTITY));
    let before = pair.asked("primary", LIVE);
    assert!(before.starts_with("200|0|t|tandem_subscriptiontrue"), "{before}");

    let rehearsed = pair.json("promote --rehearse");
    assert_eq!((&rehearsed["turned"], &rehearsed["lost_commits"]), (&Value::Bool(true), &Value::from(0)));
    assert_eq!(rehearsed["record"]["from_system_identifier"].to_string(), primary, "it was a copy of this one");
    assert_ne!(rehearsed["record"]["system_identifier"].to_string(), replica, "and not of that");
    let steps: Vec<_> = rehearsed["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    assert_eq!(steps, ["compare", "fence", "drain", "compare_again", "turn", "demote"]);
    assert_eq!(pair.asked("primary", LIVE), before);
    assert_eq!(pair.json("verify")["equal"], true);

    let promoted = pair.json("promote --yes");
    assert_eq!(promoted["record"]["system_identifier"].to_string(), replica);
    pair.ok("up --detach");
    assert_eq!(pair.asked("primary", IDENTITY), replica, "the replica is the primary");
    assert_eq!(pair.json("verify")["tables"][1]["rows"], 200);
    pair.ok("seed --sales 10");
    assert_eq!(pair.json("verify")["tables"][1]["rows"], 210, "it sells, and its replica follows");
    pair.ok("reset --yes");
    assert!(!pair.0.anything_runs().unwrap(), "no process is left behind");
}
