//! A promotion that does not come to its end at once, or not at all.

use std::{
    collections::HashSet,
    mem::discriminant,
    process::Output,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tandem_convergence::Options;
use tandem_proto::sales::command::v1::CreateTransactionRequest;
use tandem_tests::{Tandem, database, program::run_to_end, request};
use tandem_upkeep::{GivenUp, Promoted, Step, UpkeepError, give_up, promote};
use tokio::{process::Command, sync::Notify, time::sleep};
use tonic::Code;
use xtask::{postgres::TestOptions, service::Binaries};

use super::{
    SLOTS, addresses,
    catalog::{catalog, difference},
    connect, count, run,
};

const STORE: i32 = 61;
/// What the primary has of an item.
const ITEM: &str =
    "item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price";

/// What is met of a step for the first time, by its name.
fn name(step: &Step) -> String {
    match step {
        Step::Turning(what) => what.clone(),
        Step::Carrying(table, _) => table.clone(),
        other => format!("{:?}", discriminant(other)),
    }
}

/// Promotes, and is cut off at the first step that `cut` says yes to; `None` where it was.
async fn promoted_unless(tandem: &Tandem, cut: impl Fn(&Step) -> bool + Sync) -> Option<Result<Promoted, UpkeepError>> {
    let (addresses, options, off) = (addresses(tandem), Options::default(), Notify::new());
    let observe = |step: &Step| {
        if cut(step) {
            off.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = off.notified() => None,
        done = promote(&addresses, &options, |_| true, observe) => Some(done),
    }
}

/// Again, until the one that was left before has found out.
async fn promoted(tandem: &Tandem) -> Promoted {
    loop {
        match promoted_unless(tandem, |_| false).await.unwrap() {
            Ok(done) => return done,
            Err(UpkeepError::Busy) => sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{}", error.with_causes()),
        }
    }
}

async fn sells(tandem: &Tandem) -> Result<(), tonic::Status> {
    let sale: CreateTransactionRequest = request::create(request::sale(STORE, vec![request::item("UNIT", 1, "1.00")]));
    tandem.commands().create_transaction(sale).await.map(drop)
}

/// Within the time that a lane takes to connect again.
async fn sells_again(tandem: &Tandem) {
    for _ in 0..200 {
        match sells(tandem).await {
            Ok(()) => return,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody sells");
}

async fn operate(tandem: &Tandem, further: &[&str]) -> Output {
    let binary = Binaries::from_environment().await.unwrap().migrator();
    let mut command = Command::new(binary);
    command.arg("promote").args(further).stdin(std::process::Stdio::null());
    command.env("TANDEM_MIGRATE_PRIMARY_URL", addresses(tandem).primary_url);
    command.env("TANDEM_MIGRATE_REPLICA_URL", addresses(tandem).replica_url);
    run_to_end(command).await.unwrap()
}

/// One pair for all: each of these leaves it as it was, but the last.
#[tokio::test]
async fn a_promotion_that_is_refused_given_up_or_killed_leaves_a_pair_or_a_new_primary() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    sells(&tandem).await.unwrap();
    nobody_agrees(&tandem).await;
    somebody_writes(&tandem).await;
    the_sides_differ(&tandem).await;
    it_is_given_up(&tandem).await;
    an_operator_has_things_of_his_own(&tandem).await;
    it_is_killed_at_each_step(&tandem).await;
}

async fn nobody_agrees(tandem: &Tandem) {
    run(&mut tandem.primary().await, "create table public.his_own (id integer)").await;
    let asked = operate(tandem, &["--output", "json"]).await;
    let plan = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(asked.status.code(), Some(1), "{plan}");
    for part in ["tandem.request_id", "since they are yours: public.his_own.", "agree with --yes"] {
        assert!(plan.contains(part), "{plan}");
    }
    let report: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!((&report["agreed"], &report["turned"]), (&Value::Bool(false), &Value::Bool(false)), "{report}");
    let nothing = operate(tandem, &["--give-up"]).await;
    assert_eq!(nothing.status.code(), Some(1), "{}", String::from_utf8_lossy(&nothing.stderr));
    sells(tandem).await.unwrap();
}

/// An administrator's transaction that does not end: nothing is turned behind his back, and callers are let in again.
async fn somebody_writes(tandem: &Tandem) {
    // Before writers are locked out, the comparison would wait for him.
    assert!(promoted_unless(tandem, |step| matches!(step, Step::WaitingForApply(_))).await.is_none());
    let mut administrator = tandem.primary().await;
    run(&mut administrator, "begin; update sales.sales_transaction set cashier_id = cashier_id").await;
    let refused = operate(tandem, &["--yes"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("does not come to an end") && said.contains("let in again"), "{said}");
    run(&mut administrator, "rollback").await;
    sells_again(tandem).await;
}

async fn the_sides_differ(tandem: &Tandem) {
    let (mut primary, mut replica) = (tandem.primary().await, tandem.replica().await);
    let keep = format!("create table public.kept as select {ITEM} from sales.sales_item limit 1");
    run(&mut replica, &keep).await;
    let mend = &format!("insert into sales.sales_item ({ITEM}) select {ITEM} from public.kept");
    let spoil = "delete from sales.sales_item where item_id = (select item_id from public.kept)";
    // Before writers are locked out, which they need not be.
    run(&mut replica, spoil).await;
    let done = promoted_unless(tandem, |step| matches!(step, Step::Fencing)).await.unwrap().unwrap();
    assert!(!done.turned && !done.verify.unwrap().equal);
    run(&mut replica, mend).await;
    // After, when only the second comparison can tell.
    assert!(promoted_unless(tandem, |step| matches!(step, Step::WaitingForApply(_))).await.is_none());
    let may_login = "select count(*) from pg_roles where rolname = 'tandem_command' and rolcanlogin";
    assert_eq!(count(&mut primary, may_login).await, 0, "whoever is killed leaves writers locked out");
    run(&mut replica, spoil).await;
    let done = promoted(tandem).await;
    assert!(!done.turned && !done.verify.unwrap().equal);
    assert_eq!(count(&mut primary, may_login).await, 1);
    run(&mut replica, mend).await;
    run(&mut replica, "drop table public.kept").await;
    sells_again(tandem).await;
}

async fn it_is_given_up(tandem: &Tandem) {
    let cut = |step: &Step| matches!(step, Step::Carrying(..));
    assert!(promoted_unless(tandem, cut).await.is_none());
    assert_eq!(give_up(&addresses(tandem)).await.unwrap(), GivenUp::Lifted);
    sells_again(tandem).await;
    // The replica is one: what was sold arrives.
    let arrived = "select count(*) = (select count(distinct transaction_id) from sales.sales_item)
        from sales.sales_transaction where store_id = 61";
    database::until(&mut tandem.replica().await, "the replica follows", arrived).await;
    assert_eq!(give_up(&addresses(tandem)).await.unwrap(), GivenUp::NotFenced);
}

/// What no migration knows of: a column on both sides, and on the primary an index, a grant, a default, a comment.
async fn an_operator_has_things_of_his_own(tandem: &Tandem) {
    let filled = "alter table sales.sales_item add column origin text default 'it''s a till';
        alter table sales.sales_item alter column origin drop default";
    run(&mut tandem.replica().await, filled).await;
    let of_his_own = format!(
        "alter table sales.sales_item add column origin text default 'it''s a till';
        comment on column sales.sales_item.origin is 'whose?';
        create index sales_item_category_idx on sales.sales_item (category) where origin is not null;
        grant select on sales.sales_item to tandem_monitor;
        alter table sales.sales_item set (fillfactor = 90);
        alter publication tandem_publication drop table sales.sales_item;
        alter publication tandem_publication add table sales.sales_item ({ITEM}, origin)"
    );
    run(&mut tandem.primary().await, &of_his_own).await;
    sells(tandem).await.unwrap();
}

async fn it_is_killed_at_each_step(tandem: &Tandem) {
    let before = catalog(&mut tandem.primary().await).await;
    let met = Arc::new(Mutex::new(HashSet::new()));
    let mut kills = 0;
    let done = loop {
        let cut = |step: &Step| met.lock().unwrap().insert(name(step));
        match promoted_unless(tandem, cut).await {
            None => kills += 1,
            Some(Ok(done)) => break done,
            Some(Err(UpkeepError::Busy)) => sleep(Duration::from_millis(10)).await,
            Some(Err(error)) => panic!("{}", error.with_causes()),
        }
    };
    assert!(kills >= 12, "{kills}: {met:?}");
    assert!(done.turned && done.lost_commits == Some(0) && done.record.is_some());
    let (mut old, mut new) = (tandem.primary().await, connect(&tandem.pair.replica().admin_url()).await);
    assert_eq!(count(&mut old, SLOTS).await, 0);
    assert_eq!(difference(&before, &catalog(&mut new).await), Vec::<String>::new());
    assert_eq!(count(&mut new, "select count(*) from tandem.promotion").await, 1);
    assert_eq!(
        count(&mut new, "select count(*) from sales.sales_transaction").await,
        count(&mut old, "select count(*) from sales.sales_transaction").await
    );
    // Behind the COMMIT there is no way back.
    assert_eq!(give_up(&addresses(tandem)).await.unwrap(), GivenUp::TooLate);
    assert!(tandem.connect(xtask::postgres::Login::Command).await.is_err());
    // And again: it is said once more.
    let again = operate(tandem, &["--yes", "--output", "json"]).await;
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
    let report: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(report["record"]["rows_compared"], done.record.unwrap().rows_compared);
}
