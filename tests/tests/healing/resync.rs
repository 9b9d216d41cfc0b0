//! Tables of the replica are built anew, while both databases are in use.

use std::collections::HashSet;
use std::mem::discriminant;
use std::sync::Mutex;

use serde_json::Value;
use sqlx::PgConnection;
use tandem_convergence::Options;
use tandem_proto::sales::query::v1::GetTransactionRequest;
use tandem_tests::{Tandem, database, request};
use tandem_upkeep::{Resynced, Step, UpkeepError, rebuild, resync};
use tokio::sync::Notify;

use super::traffic::Traffic;
use super::{addresses, alone, count, operate, run, sell};

const ITEMS: &str = "sales.sales_item";

/// All that makes a table what it is, besides its rows.
const SHAPE: &str = "
    select jsonb_build_object(
        'owner', (select pg_get_userbyid(relowner) from pg_class where oid = $1::regclass),
        'privileges', (select array_agg(privilege::text order by 1) from pg_class, unnest(relacl) as privilege
            where oid = $1::regclass),
        'columns', (select array_agg(format('%s %s %s %s', attname, format_type(atttypid, atttypmod), attnotnull,
                pg_get_expr(adbin, adrelid)) order by attnum)
            from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
            where attrelid = $1::regclass and attnum > 0 and not attisdropped),
        'indexes', (select array_agg(pg_get_indexdef(indexrelid) order by 1) from pg_index where indrelid = $1::regclass),
        'constraints', (select array_agg(conname || pg_get_constraintdef(oid) order by 1) from pg_constraint
            where conrelid = $1::regclass),
        'triggers', (select array_agg(pg_get_triggerdef(oid) || tgenabled::text order by 1) from pg_trigger
            where tgrelid = $1::regclass)
    )";

async fn shape(replica: &mut PgConnection, table: &str) -> Value {
    sqlx::query_scalar(SHAPE).bind(table).fetch_one(replica).await.unwrap()
}

/// A sale whose item the replica has lost, and no stream brings back.
async fn spoil(tandem: &Tandem) {
    let sold = sell(tandem, 31, vec![request::item("LOST", 1, "9.00")]).await;
    let sale = sold.transaction.unwrap();
    let read = GetTransactionRequest {
        transaction_id: sale.transaction_id,
        consistency: request::after(&sold.consistency_token),
    };
    tandem.queries().get_transaction(read).await.unwrap();
    let item_id = &sale.items[0].item_id;
    run(&mut tandem.replica().await, &format!("delete from sales.sales_item where item_id = '{item_id}'")).await;
}

#[tokio::test]
async fn a_table_is_built_anew_while_callers_write_and_are_answered_exactly() {
    let tandem = alone().await;
    spoil(&tandem).await;
    let mut replica = tandem.replica().await;
    let (before, oid) = (shape(&mut replica, ITEMS).await, count(&mut replica, OID).await);
    let traffic = Traffic::start(&tandem).await;
    for table in [ITEMS, "sales.sales_transaction", "tandem.watermark"] {
        let done = operate(&tandem, &["resync", table, "--yes", "--output", "json"]).await;
        assert_eq!(done.status.code(), Some(0), "{table}: {}", String::from_utf8_lossy(&done.stderr));
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(report["verify"]["equal"], true, "{report}");
        assert_eq!(report["tables"], serde_json::json!([table]));
    }
    traffic.end().await;
    assert_eq!(shape(&mut replica, ITEMS).await, before);
    assert_ne!(count(&mut replica, OID).await, oid, "it is another table");
    nothing_is_left(&tandem).await;
}

const OID: &str = "select 'sales.sales_item'::regclass::oid::bigint";

async fn nothing_is_left(tandem: &Tandem) {
    let schemas = "select count(*) from pg_namespace where nspname = 'tandem_resync'";
    assert_eq!(count(&mut tandem.replica().await, schemas).await, 0);
    let slots = "select count(*) from pg_replication_slots where slot_name <> 'tandem_subscription'";
    assert_eq!(count(&mut tandem.primary().await, slots).await, 0);
}

/// Does something again and again, cut off at the first step that was not met before, until it comes to its end: as if it
/// was killed at each. How many steps there were.
async fn killed_at_each_step<F: Future<Output = Result<Resynced, UpkeepError>>>(
    doing: impl Fn(Box<dyn Fn(&Step)>) -> F,
) -> (usize, Resynced) {
    static MET: Mutex<Option<HashSet<std::mem::Discriminant<Step>>>> = Mutex::new(None);
    *MET.lock().unwrap() = Some(HashSet::new());
    loop {
        let cut = std::rc::Rc::new(Notify::new());
        let cutting = std::rc::Rc::clone(&cut);
        let observe = Box::new(move |step: &Step| {
            if MET.lock().unwrap().as_mut().unwrap().insert(discriminant(step)) {
                cutting.notify_one();
            }
        });
        tokio::select! {
            biased;
            () = cut.notified() => {}
            done = doing(observe) => match done {
                Ok(done) => return (MET.lock().unwrap().take().unwrap().len(), done),
                // The one before is about to find out that it was left.
                Err(UpkeepError::Busy) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                Err(error) => panic!("{}", error.with_causes()),
            },
        }
    }
}

#[tokio::test]
async fn a_resync_that_was_killed_at_any_step_is_run_again_and_comes_to_its_end() {
    let tandem = alone().await;
    spoil(&tandem).await;
    let (addresses, options) = (addresses(&tandem), Options::default());
    let traffic = Traffic::start(&tandem).await;
    let (steps, done) = killed_at_each_step(|observe| resync(&addresses, ITEMS, &options, |_| true, observe)).await;
    traffic.end().await;
    assert!(done.verify.unwrap().equal);
    assert_eq!(steps, 7);
    nothing_is_left(&tandem).await;
}

#[tokio::test]
async fn a_replica_whose_slot_is_lost_is_rebuilt_by_one_command_also_when_it_is_killed_at_any_step() {
    let tandem = alone().await;
    spoil(&tandem).await;
    let mut replica = tandem.replica().await;
    database::disable_subscription(&mut replica).await;
    lose_slot(&tandem).await;
    database::enable_subscription(&mut replica).await;
    let (addresses, options) = (addresses(&tandem), Options::default());
    let (steps, done) = killed_at_each_step(|observe| rebuild(&addresses, &options, |_| true, observe)).await;
    assert!(done.verify.unwrap().equal);
    assert_eq!(steps, 8);
    nothing_is_left(&tandem).await;
    // A healthy one, under traffic: tokens are fulfilled all the while.
    let traffic = Traffic::start(&tandem).await;
    let done = operate(&tandem, &["rebuild-replica", "--yes", "--output", "json"]).await;
    traffic.end().await;
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&report["verify"]["equal"], report["tables"].as_array().unwrap().len()), (&Value::Bool(true), 3));
    nothing_is_left(&tandem).await;
}

/// More WAL than is kept for a slot that nobody reads from.
async fn lose_slot(tandem: &Tandem) {
    let mut primary = tandem.primary().await;
    run(&mut primary, "alter system set max_slot_wal_keep_size = '1MB'").await;
    run(&mut primary, "select pg_reload_conf()").await;
    let lost = "select wal_status = 'lost' from pg_replication_slots where slot_name = 'tandem_subscription'";
    while !sqlx::query_scalar::<_, bool>(lost).fetch_one(&mut primary).await.unwrap() {
        run(&mut primary, "select pg_logical_emit_message(false, 'test', ''); select pg_switch_wal(); checkpoint")
            .await;
    }
    run(&mut primary, "alter system reset max_slot_wal_keep_size").await;
    run(&mut primary, "select pg_reload_conf()").await;
}

#[tokio::test]
async fn a_table_that_can_not_be_built_anew_is_refused_with_the_reason_before_anything_is_copied() {
    let tandem = alone().await;
    let unknown = operate(&tandem, &["resync", "sales.other", "--yes"]).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("publishes no table"));
    let mut replica = tandem.replica().await;
    run(&mut replica, "create view public.of_items as select item_id from sales.sales_item").await;
    let viewed = operate(&tandem, &["resync", ITEMS, "--yes"]).await;
    run(&mut replica, "drop view public.of_items").await;
    let said = String::from_utf8_lossy(&viewed.stderr).into_owned();
    assert_eq!(viewed.status.code(), Some(2));
    assert!(said.contains("of_items") && said.contains("depends on it"), "{said}");
    nothing_is_left(&tandem).await;
}
