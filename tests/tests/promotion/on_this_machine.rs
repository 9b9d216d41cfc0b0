//! `cargo xtask promote`, as a developer meets it.

use serde_json::Value;
use tandem_tests::machine::{Machine, TypedPair};

fn asked(pair: &TypedPair, side: &str, question: &str) -> String {
    pair.ok(&format!("psql {side} -- -Atc \"{question}\"")).trim().to_owned()
}

const IDENTITY: &str = "select system_identifier from pg_control_system()";
/// What a rehearsal must leave as it was. Watermarks go on by themselves.
const LIVE: &str = "select (select count(*) from sales.sales_transaction), (select count(*) from tandem.promotion),
    (select rolcanlogin from pg_roles where rolname = 'tandem_command'),
    (select string_agg(slot_name || active, ',') from pg_replication_slots)";

#[test]
fn a_rehearsal_touches_nothing_and_a_promotion_exchanges_the_clusters_of_a_local_pair() {
    let pair = TypedPair(Machine::new().unwrap());
    pair.ok("up --detach --sales 200");
    let (primary, replica) = (asked(&pair, "primary", IDENTITY), asked(&pair, "replica", IDENTITY));
    let before = asked(&pair, "primary", LIVE);
    assert!(before.starts_with("200|0|t|tandem_subscriptiontrue"), "{before}");

    let rehearsed = pair.json("promote --rehearse");
    assert_eq!((&rehearsed["turned"], &rehearsed["lost_commits"]), (&Value::Bool(true), &Value::from(0)));
    assert_eq!(rehearsed["record"]["from_system_identifier"].to_string(), primary, "it was a copy of this one");
    assert_ne!(rehearsed["record"]["system_identifier"].to_string(), replica, "and not of that");
    let steps: Vec<_> = rehearsed["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    assert_eq!(steps, ["compare", "fence", "drain", "compare_again", "turn", "demote"]);
    assert_eq!(asked(&pair, "primary", LIVE), before);
    assert_eq!(pair.json("verify")["equal"], true);

    let promoted = pair.json("promote --yes");
    assert_eq!(promoted["record"]["system_identifier"].to_string(), replica);
    pair.ok("up --detach");
    assert_eq!(asked(&pair, "primary", IDENTITY), replica, "the replica is the primary");
    assert_eq!(pair.json("verify")["tables"][1]["rows"], 200);
    pair.ok("seed --sales 10");
    assert_eq!(pair.json("verify")["tables"][1]["rows"], 210, "it sells, and its replica follows");
    pair.ok("reset --yes");
    assert!(!pair.0.anything_runs().unwrap(), "no process is left behind");
}
