//! What is told of replication: over gRPC with the rights of a monitor, and to an operator who may look into both sides.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tandem_proto::sales::query::v1::{GetReplicationStatusRequest, GetReplicationStatusResponse, OverallState};
use tandem_replication::{
    Judge, PeekError, PrimaryLook, ReplicaLook, STUCK_AFTER, SUBSCRIPTION, Slot, SlotChangeError, State, Verdict,
    peek::{What, peek},
};
use tandem_tests::{
    Tandem,
    program::{run_to_end, subcommand},
    request::{create, item, sale, within},
};
use tandem_upkeep::{Addresses, conflicts};
use tokio::time::sleep;
use xtask::{
    postgres::{Login, TestOptions, TestPair},
    service::Service,
};

/// Long enough for anything that should come.
const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// The same row for both sides.
const ROW: &str = "
    insert into sales.sales_transaction (
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        created_at, updated_at, version
    )
    values ('00000000-0000-7000-8000-000000000001', now(), 1, 1, 'cash', 1, 0, now(), now(), 1)";

async fn execute(connection: &mut PgConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await.unwrap();
}

/// Asks until the answer is as wanted.
async fn until(tandem: &Tandem, is: impl Fn(&GetReplicationStatusResponse) -> bool) -> GetReplicationStatusResponse {
    let begun = Instant::now();
    loop {
        let asked = within(GetReplicationStatusRequest {}, PATIENCE);
        let status = tandem.replication().get_replication_status(asked).await.unwrap().into_inner();
        if is(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {status:?}");
        sleep(BETWEEN_LOOKS).await;
    }
}

fn state(status: &GetReplicationStatusResponse) -> OverallState {
    status.health.as_ref().unwrap().state()
}

#[tokio::test]
async fn a_conflict_is_told_as_failing_and_the_row_that_stands_in_the_way_is_found() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let (mut primary, mut replica) = (tandem.primary().await, tandem.replica().await);
    until(&tandem, |status| state(status) == OverallState::Healthy).await;
    let addresses = Addresses {
        // As the role that has no more than REPLICATION.
        primary_url: tandem.pair.url(Login::Replication),
        replica_url: tandem.pair.url(Login::ReplicaAdmin),
        subscription: SUBSCRIPTION.to_owned(),
    };
    assert_eq!(conflicts(&addresses).await.unwrap(), [], "also while its worker has the slot");
    execute(&mut replica, "create unique index of_one_cashier on sales.sales_transaction (cashier_id)").await;
    execute(&mut replica, &ROW.replace("000000000001'", "000000000002'")).await;
    execute(&mut primary, ROW).await;
    let failing = until(&tandem, |status| state(status) == OverallState::Failing).await;
    let subscription = failing.subscription.unwrap();
    assert!(subscription.apply_errors > 1 && subscription.enabled, "{subscription:?}");
    let reason = failing.health.unwrap().reason;
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::integer")
        .fetch_one(&mut replica)
        .await
        .unwrap();
    if version >= 180_000 {
        assert!(subscription.conflicts.iter().any(|found| found.kind == "insert_exists" && found.count > 0));
        assert!(reason.contains("insert_exists"), "{reason}");
    } else {
        assert!(subscription.conflicts.is_empty(), "nobody counts them");
        assert!(reason.contains("log alone"), "{reason}");
    }

    assert!(reason.contains("`heal`") || version >= 180_000, "{reason}");

    let found = conflicts(&addresses).await.unwrap();
    let told: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 1, "{told:?}");
    let expected = r#"sales.sales_transaction {"transaction_id":"00000000-0000-7000-8000-000000000002"}: "#;
    assert!(told[0].starts_with(expected) && told[0].contains("of_one_cashier"), "{told:?}");
    execute(&mut replica, "delete from sales.sales_transaction").await;
    until(&tandem, |status| state(status) == OverallState::Healthy).await;
}

#[tokio::test]
async fn drift_and_orphans_are_told_by_who_may_read_no_sale() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let (mut primary, mut replica) = (tandem.primary().await, tandem.replica().await);
    let healthy = until(&tandem, |status| state(status) == OverallState::Healthy).await;
    assert!(healthy.drifts.is_empty() && healthy.orphan_slots.is_empty(), "{healthy:?}");
    assert!(healthy.slot.unwrap().active_pid.is_some());

    execute(&mut primary, "alter table sales.sales_item add column colour text").await;
    execute(&mut replica, "alter table sales.sales_item add column note text").await;
    execute(&mut replica, "alter table sales.sales_transaction alter column cashier_id type bigint").await;
    execute(&mut primary, "select pg_create_logical_replication_slot('tandem_verify_1', 'pgoutput')").await;
    let drifted = until(&tandem, |status| status.drifts.len() == 3).await;
    assert_eq!(state(&drifted), OverallState::Drifted);
    let told: Vec<_> = drifted.drifts.iter().map(|drift| (drift.difference.as_str(), drift.stops_apply)).collect();
    let expected = [
        ("sales.sales_item.colour is on the primary and not published", false),
        ("sales.sales_item.note is on the replica alone", false),
        ("sales.sales_transaction.cashier_id is integer on the primary and bigint on the replica", true),
    ];
    assert_eq!(told, expected);
    let orphans: Vec<_> = drifted.orphan_slots.iter().map(|slot| slot.name.as_str()).collect();
    assert_eq!(orphans, ["tandem_verify_1"]);
    let also = drifted.health.unwrap().also.join("\n");
    let what_to_do = "a verifier left it, and whoever verifies next takes it away";
    assert!(also.contains("slot tandem_verify_1 keeps ") && also.contains(what_to_do), "{also}");
    assert!(also.contains("colour"), "{also}");
}

#[tokio::test]
async fn an_idle_pair_without_any_service_stays_healthy() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let mut primary = PgConnection::connect(&pair.primary().admin_url()).await.unwrap();
    let mut replica = PgConnection::connect(&pair.replica().admin_url()).await.unwrap();
    // WAL that publishes nothing, and then silence.
    execute(&mut primary, "create table unpublished as select generate_series(1, 1000) as id").await;
    let mut judge = Judge::new(SUBSCRIPTION.to_owned(), Vec::new());
    let begun = Instant::now();
    let mut last = None;
    while begun.elapsed() < STUCK_AFTER + Duration::from_secs(2) {
        let there = PrimaryLook::now(&mut primary).await.unwrap();
        let here = ReplicaLook::now(&mut replica, SUBSCRIPTION, &there.tables()).await.unwrap();
        let verdict = judge.judge(Some(&there), &here, Instant::now());
        assert_eq!(verdict.state, State::Healthy, "{verdict:?}");
        last = Some(verdict);
        sleep(BETWEEN_LOOKS).await;
    }
    assert!(last.unwrap().behind_for.unwrap() < Duration::from_secs(8), "the primary is heard of at rest, too");
}

/// Looks by a clock that runs ten times as fast as the real one.
struct FastJudge {
    judge: Judge,
    begun: Instant,
    primary: PgConnection,
    replica: PgConnection,
}

impl FastJudge {
    /// Looks until `ends`, and gives each state that was seen.
    async fn until(&mut self, ends: impl Fn(&Verdict, &ReplicaLook) -> bool) -> Vec<State> {
        let (begun, mut seen) = (Instant::now(), Vec::new());
        while begun.elapsed() < PATIENCE {
            let there = PrimaryLook::now(&mut self.primary).await.unwrap();
            let here = ReplicaLook::now(&mut self.replica, SUBSCRIPTION, &there.tables()).await.unwrap();
            let verdict = self.judge.judge(Some(&there), &here, self.begun + self.begun.elapsed() * 10);
            seen.push(verdict.state);
            if ends(&verdict, &here) {
                return seen;
            }
            sleep(BETWEEN_LOOKS).await;
        }
        panic!("waited in vain: {seen:?}");
    }
}

#[tokio::test]
async fn a_worker_in_the_middle_of_a_large_transaction_is_at_work_and_one_that_waits_for_a_lock_is_stuck() {
    // A transaction that is larger than this is applied as one message.
    let primary_settings = vec![("logical_decoding_work_mem".to_owned(), "64kB".to_owned())];
    let pair = TestPair::start(TestOptions { primary_settings, ..TestOptions::default() }).await.unwrap();
    let connect = async |url: String| PgConnection::connect(&url).await.unwrap();
    let (primary, replica) = (pair.primary().admin_url(), pair.replica().admin_url());
    let (mut writer, mut other) = (connect(primary.clone()).await, connect(replica.clone()).await);
    let slow = "
        create function public.slow() returns trigger language plpgsql as
            'begin perform pg_catalog.pg_sleep(0.001); return new; end';
        create trigger slow before insert on sales.sales_transaction for each row execute function public.slow();
        alter table sales.sales_transaction enable always trigger slow";
    execute(&mut other, slow).await;
    let rows = |count: u32| {
        let row = ROW.replace("values ('00000000-0000-7000-8000-000000000001',", "select gen_random_uuid(),");
        format!("{} from generate_series(1, {count})", row.trim_end().trim_end_matches(')'))
    };
    let judge = Judge::new(SUBSCRIPTION.to_owned(), Vec::new());
    let (primary, replica) = (connect(primary).await, connect(replica).await);
    let mut fast = FastJudge { judge, begun: Instant::now(), primary, replica };
    fast.until(|verdict, _| verdict.behind_for.is_some()).await;

    execute(&mut writer, &rows(2_000)).await;
    let target = PrimaryLook::now(&mut writer).await.unwrap().flushed;
    let seen = fast.until(|_, look| look.position().is_some_and(|position| position >= target)).await;
    let late = seen.iter().filter(|state| **state == State::CatchingUp).count();
    // Ten looks are 20 seconds of the fast clock: twice as long as it takes to be stuck.
    assert!(late >= 10 && !seen.contains(&State::Stuck), "{seen:?}");

    execute(&mut other, "begin; lock table sales.sales_transaction in share mode").await;
    execute(&mut writer, &rows(1)).await;
    fast.until(|verdict, _| verdict.state == State::Stuck).await;
}

#[tokio::test]
async fn a_slot_is_made_looked_into_as_often_as_one_likes_and_dropped_only_when_no_replica_has_it() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    // As the role that has no more than REPLICATION.
    let mut primary = tandem.connect(Login::Replication).await.unwrap();
    Slot::create(&mut primary, "probe", "pgoutput").await.unwrap();
    let again = Slot::create(&mut primary, "probe", "pgoutput").await.unwrap_err();
    assert!(matches!(again, SlotChangeError::Exists { .. }), "{again:?}");

    let made = tandem.commands().create_transaction(create(sale(1, vec![item("A", 2, "1.50")]))).await.unwrap();
    let transaction_id = made.into_inner().transaction.unwrap().transaction_id;
    let mut of_sale = Vec::new();
    for _ in 0..2 {
        let changes = peek(&mut primary, "probe", 100).await.unwrap();
        let inserts = changes.into_iter().filter_map(|change| match change.what {
            What::Insert { table, new, .. }
                if new.get("transaction_id") == Some(&Value::from(transaction_id.as_str())) =>
            {
                Some((table, new))
            }
            _ => None,
        });
        of_sale.push(inserts.collect::<Vec<_>>());
    }
    assert_eq!(of_sale[0], of_sale[1], "nothing was consumed");
    let tables: Vec<_> = of_sale[0].iter().map(|(table, _)| table.as_str()).collect();
    assert_eq!(tables, ["sales.sales_transaction", "sales.sales_item"]);
    assert_eq!(of_sale[0][1].1["total_price"], "3.00");
    for store in 0..10 {
        tandem.commands().create_transaction(create(sale(store + 1, vec![item("A", 1, "1.00")]))).await.unwrap();
    }
    for limit in [1, 5, 20] {
        assert_eq!(peek(&mut primary, "probe", limit).await.unwrap().len(), limit as usize, "so many, if there are");
    }

    let used = peek(&mut primary, SUBSCRIPTION, 1).await.unwrap_err();
    assert!(matches!(used, PeekError::InUse { .. }), "{used:?}");
    let none = peek(&mut primary, "nobody", 1).await.unwrap_err();
    assert!(matches!(none, PeekError::Unknown { .. }), "{none:?}");
    let used = Slot::droppable(&mut primary, SUBSCRIPTION, &[]).await.unwrap_err();
    assert!(matches!(used, SlotChangeError::InUse { .. }), "{used:?}");
    let of_replica = Slot::droppable(&mut primary, "probe", &["probe".to_owned()]).await.unwrap_err();
    assert!(matches!(of_replica, SlotChangeError::OfReplica { .. }), "{of_replica:?}");

    let ran = async |arguments: &[&str]| {
        let mut command = subcommand(&tandem.pair, Service::Query, arguments[0]).await.unwrap();
        command.args(&arguments[1..]);
        command.env("TANDEM_REPLICATION_PASSWORD_FILE", tandem.pair.passwords().file(Login::Replication));
        run_to_end(command).await.unwrap()
    };
    let listed: Value = serde_json::from_slice(&ran(&["slots", "list", "--output", "json"]).await.stdout).unwrap();
    let names: Vec<_> =
        listed.as_array().unwrap().iter().map(|slot| (slot["name"].clone(), slot["orphan"].clone())).collect();
    assert_eq!(names, [("probe".into(), true.into()), (SUBSCRIPTION.into(), false.into())]);
    let changes = ran(&["cdc", "peek", "--slot", "probe", "--limit", "1", "--output", "json"]).await.stdout;
    let change: Value = serde_json::from_slice(&changes).unwrap();
    assert!(change["change"].is_string() && change["xid"].is_number(), "{change}");
    let asked = ran(&["slots", "drop", "probe"]).await;
    assert!(!asked.status.success(), "there is nobody to ask");
    assert!(ran(&["slots", "drop", "probe", "--yes"]).await.status.success());
    assert!(Slot::find(&mut primary, "probe").await.unwrap().is_none());
}
