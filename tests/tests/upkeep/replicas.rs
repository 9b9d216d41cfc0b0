//! A pair of two replicas that was there before batches were: brought to this release in both orders, then to another shape.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, migrate::Migrator};
use tandem_convergence::{Options, check};
use tandem_tests::{database::until, machine::workspace, program::run_to_end};
use tokio::time::interval;
use xtask::{
    postgres::{Login, ReplicaNumber, TestOptions, TestPair},
    service::{Binaries, Instance},
};

use super::{migration, run};

/// The first migration of the release that brings batches, on either side.
const BATCHES: i64 = 20_261_125_000_100;

/// Applies what there was before batches.
async fn migrate_to_before_batches(side: &mut PgConnection, service: &str) {
    let directory = workspace().join("services").join(service).join("migrations");
    let all = Migrator::new(directory.as_path()).await.unwrap();
    let older = all.iter().filter(|migration| migration.version < BATCHES).cloned().collect();
    Migrator::with_migrations(older).run(side).await.unwrap();
}

/// A primary and its replicas as an older release has left them.
async fn older_pair() -> (TestPair, PgConnection) {
    let pair = TestPair::bare(TestOptions { further_replicas: 1, ..TestOptions::default() }).await.unwrap();
    let mut primary = PgConnection::connect(&pair.primary().admin_url()).await.unwrap();
    migrate_to_before_batches(&mut primary, "command").await;
    let password = std::fs::read_to_string(pair.passwords().file(Login::Replication)).unwrap();
    run(&mut primary, &format!("alter role tandem_replication password '{}'", password.trim())).await;
    for (number, replica) in pair.replicas() {
        let mut replica = PgConnection::connect(&replica.admin_url()).await.unwrap();
        migrate_to_before_batches(&mut replica, "query").await;
        let subscribe = format!(
            "create subscription {} connection '{}' publication tandem_publication with (binary = true, streaming = on)",
            number.subscription(),
            pair.url(Login::Replication)
        );
        run(&mut replica, &subscribe).await;
        until(&mut replica, "its tables are ready", "select bool_and(srsubstate = 'r') from pg_subscription_rel").await;
    }
    (pair, primary)
}

/// Writes sales until it is told to stop.
async fn sell(url: String, over: Arc<AtomicBool>) {
    let mut primary = PgConnection::connect(&url).await.unwrap();
    let mut pace = interval(Duration::from_millis(20));
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        let sale = "
            insert into sales.sales_transaction (
                transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
                created_at, updated_at, version
            )
            values (gen_random_uuid(), now(), 1, 1, 'cash', 1, 0, now(), now(), 1)";
        run(&mut primary, sale).await;
    }
}

/// What is written after this call comes to a replica.
async fn goes_on(primary: &mut PgConnection, replica: &mut PgConnection) {
    let marked = "
        insert into sales.sales_transaction (
            transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            created_at, updated_at, version
        )
        values (gen_random_uuid(), now(), 1, 2, 'cash', 1, 0, now(), now(), 1)
        returning transaction_id::text";
    let id: String = sqlx::query_scalar(marked).fetch_one(primary).await.unwrap();
    let come = format!("select exists (select from sales.sales_transaction where transaction_id = '{id}')");
    until(replica, "apply goes on", come.leak()).await;
}

async fn is_equal(pair: &TestPair, number: ReplicaNumber) -> bool {
    let options = Options { subscription: number.subscription(), ..Options::default() };
    let report = check(&pair.primary().admin_url(), &pair.replica_of(number).admin_url(), &options).await;
    let report = report.unwrap();
    assert!(report.tables.iter().any(|table| table.table == "tandem.batch_control" && table.rows == 1), "{report:?}");
    report.equal
}

const BATCH: &str = "
    insert into tandem.batch_control (batch_id, schema_name, table_name, status, started_at)
    values ('first', 'sales', 'sales_item', 'IN_PROGRESS', now())";

#[tokio::test]
async fn a_pair_from_before_batches_is_upgraded_in_either_order_and_two_replicas_change_their_shape_as_one() {
    let (pair, mut primary) = older_pair().await;
    let binaries = Binaries::from_environment().await.unwrap();
    let [first, second] = [1, 2].map(|number| ReplicaNumber::new(number).unwrap());
    let connect = async |number| PgConnection::connect(&pair.replica_of(number).admin_url()).await.unwrap();
    let (mut replica, mut other) = (connect(first).await, connect(second).await);
    let over = Arc::new(AtomicBool::new(false));
    let seller = tokio::spawn(sell(pair.primary().admin_url(), Arc::clone(&over)));

    // The right order for the first replica; for the second, the primary comes first.
    pair.migrate(&binaries, Instance::Query(first)).await.unwrap();
    goes_on(&mut primary, &mut replica).await;
    pair.migrate(&binaries, Instance::Command).await.unwrap();
    goes_on(&mut primary, &mut replica).await;
    goes_on(&mut primary, &mut other).await;
    // A batch finds no table there: apply waits for the migration, and goes past nothing.
    run(&mut primary, BATCH).await;
    goes_on(&mut primary, &mut replica).await;
    until(&mut other, "apply waits", "select apply_error_count > 0 from pg_stat_subscription_stats").await;
    pair.migrate(&binaries, Instance::Query(second)).await.unwrap();
    goes_on(&mut primary, &mut other).await;
    pair.migrate(&binaries, Instance::Query(first)).await.unwrap();
    for (number, replica) in [(first, &mut replica), (second, &mut other)] {
        until(replica, "all is ready", "select count(*) = 4 and bool_and(srsubstate = 'r') from pg_subscription_rel")
            .await;
        assert!(is_equal(&pair, number).await, "{number}");
    }

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "table = 'sales.sales_transaction'\ncolumn = 'till'\ntype = 'integer'\ndefault = '7'")
        .unwrap();
    let arguments = ["apply", "--yes", "--output", "json", "--change", file.path().to_str().unwrap()];
    let mut alone = migration(&pair, &arguments).await;
    alone
        .env("TANDEM_MIGRATE_REPLICA_URL", pair.replica().admin_url())
        .env("TANDEM_SUBSCRIPTION", first.subscription());
    let refused = run_to_end(alone).await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2));
    assert!(said.contains("slot tandem_subscription_2 on the primary is of a replica that was not named"), "{said}");
    for (direction, columns) in [(None, 1_i64), (Some("--contract"), 0)] {
        let mut command = migration(&pair, &arguments).await;
        command.args(direction);
        let ended = run_to_end(command).await.unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
        let done: Value = serde_json::from_slice(&ended.stdout).unwrap();
        let verified: Vec<_> = done["verify"].as_array().unwrap().iter().map(|report| &report["equal"]).collect();
        assert_eq!(verified, [&Value::Bool(true); 2], "each replica is compared: {done}");
        for side in [&mut primary, &mut replica, &mut other] {
            let question = "select count(*) from information_schema.columns
                where table_schema = 'sales' and table_name = 'sales_transaction' and column_name = 'till'";
            let found: i64 = sqlx::query_scalar(AssertSqlSafe(question.to_owned())).fetch_one(side).await.unwrap();
            assert_eq!(found, columns, "{direction:?}");
        }
    }
    over.store(true, Ordering::Relaxed);
    seller.await.unwrap();
}
