//! Tables of the replica are built anew, while both databases are in use.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::Value;
use sqlx::PgConnection;
use tandem_convergence::Options;
use tandem_proto::sales::query::v1::GetTransactionRequest;
use tandem_tests::{Tandem, database, request};
use tandem_upkeep::{Step, rebuild, resync};

use super::traffic::{Traffic, pace};
use super::{addresses, alone, count, killed_at_each_step, operate, run, sell};

const ITEMS: &str = "sales.sales_item";

/// All that makes a table what it is, besides its rows.
const SHAPE: &str = "
    select jsonb_build_object(
        'owner', (select pg_get_userbyid(relowner) from pg_class where oid = $1::regclass),
        'privileges', (select array_agg(privilege::text order by privilege::text) from pg_class, unnest(relacl) as privilege
            where oid = $1::regclass),
        'columns', (select array_agg(format('%s %s %s %s', attname, format_type(atttypid, atttypmod), attnotnull,
                pg_get_expr(adbin, adrelid)) order by attnum)
            from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
            where attrelid = $1::regclass and attnum > 0 and not attisdropped),
        'indexes', (select array_agg(pg_get_indexdef(indexrelid) order by pg_get_indexdef(indexrelid)) from pg_index where indrelid = $1::regclass),
        'constraints', (select array_agg(conname || pg_get_constraintdef(oid) order by conname) from pg_constraint
            where conrelid = $1::regclass),
        'triggers', (select array_agg(pg_get_triggerdef(oid) || tgenabled::text order by tgname) from pg_trigger
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
    for table in [ITEMS, "sales.sales_transaction"] {
        let traffic = Traffic::start(&tandem).await;
        let observe = |_: &Step| ();
        let done = resync(&addresses(&tandem), table, &Options::default(), |_| true, observe).await.unwrap();
        traffic.end().await;
        assert!(done.verify.unwrap().equal, "{table}");
    }
    let done = operate(&tandem, &["resync", "tandem.watermark", "--yes", "--output", "json"]).await;
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["verify"]["equal"], true, "{report}");
    assert_eq!(report["tables"], serde_json::json!(["tandem.watermark"]));
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
    let observe = |_: &Step| ();
    let done = rebuild(&addresses, &options, |_| true, observe).await.unwrap();
    traffic.end().await;
    assert!(done.verify.unwrap().equal);
    let done = operate(&tandem, &["rebuild-replica", "--yes", "--output", "json"]).await;
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&report["verify"]["equal"], report["tables"].as_array().unwrap().len()), (&Value::Bool(true), 4));
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

/// What a writer does again and again with rows whose body is stored apart, and sent only when it changes.
const LETTERS: [&str; 5] = [
    "update public.letter set sort = sort + 1 where id % 3 = 0",
    "update public.letter set id = id + 100 where id = (select min(id) from public.letter)",
    "insert into public.letter select coalesce(max(id), 0) + 1, 0, repeat(md5(random()::text), 200) from public.letter",
    "delete from public.letter where id = (select min(id) from public.letter)",
    "update public.letter set body = repeat(md5(random()::text), 200) where id % 7 = 0",
];

async fn write_letters(mut primary: PgConnection, over: Arc<AtomicBool>) {
    let mut pace = pace();
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        for statement in LETTERS {
            run(&mut primary, statement).await;
        }
    }
}

#[tokio::test]
async fn large_values_that_updates_do_not_send_again_are_in_the_table_that_is_built() {
    let tandem = alone().await;
    let (mut primary, mut replica) = (tandem.primary().await, tandem.replica().await);
    let table = "create table public.letter (id integer primary key, sort integer not null, body text not null);
        alter table public.letter alter column body set storage external";
    run(&mut replica, table).await;
    run(&mut primary, table).await;
    let fill = "insert into public.letter select id, 0, repeat(md5(id::text), 200) from generate_series(1, 60) as id";
    run(&mut primary, fill).await;
    run(&mut primary, "grant select on public.letter to tandem_replication").await;
    run(&mut primary, "alter publication tandem_publication add table public.letter (id, sort, body)").await;
    run(&mut replica, "alter subscription tandem_subscription refresh publication").await;
    let ready = "select bool_and(srsubstate = 'r') from pg_subscription_rel";
    database::until(&mut replica, "the new table is ready", ready).await;
    let over = Arc::new(AtomicBool::new(false));
    for _ in 0..2 {
        over.store(false, Ordering::Relaxed);
        let writer = tokio::spawn(write_letters(tandem.primary().await, Arc::clone(&over)));
        let stop = |step: &Step| {
            if let Step::Verifying(_) = step {
                over.store(true, Ordering::Relaxed);
            }
        };
        let done = resync(&addresses(&tandem), "public.letter", &Options::default(), |_| true, stop).await.unwrap();
        writer.await.unwrap();
        assert!(done.verify.unwrap().equal);
    }
    run(&mut primary, "alter publication tandem_publication drop table public.letter").await;
    run(&mut replica, "alter subscription tandem_subscription refresh publication").await;
    run(&mut replica, "drop table public.letter").await;
    run(&mut primary, "drop table public.letter").await;
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
