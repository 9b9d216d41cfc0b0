//! What both databases say of a batch: the three SQL functions, and each state of its health on either side.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::{Instant, sleep};
use xtask::postgres::{DATABASE, TestOptions, TestPair};

/// The replica confirms what it has flushed every ten seconds, if nothing else is to be said.
const CONFIRMED_LIMIT: Duration = Duration::from_secs(40);

/// The primary and the replica, as their superusers.
struct Sides {
    _pair: TestPair,
    primary: PgConnection,
    replica: PgConnection,
}

impl Sides {
    async fn open() -> Self {
        let pair = TestPair::start(TestOptions::default()).await.unwrap();
        let primary = pair.primary().connect(DATABASE).await.unwrap();
        let replica = pair.replica().connect(DATABASE).await.unwrap();
        Self { _pair: pair, primary, replica }
    }

    /// Registers a batch on the primary that ended so many minutes ago, behind all that is committed.
    async fn ended(&mut self, batch: &str, minutes: i32, status: &str) {
        // In the place of its rows: a replica that has everything has not seen this.
        run(&mut self.primary, "select pg_logical_emit_message(true, 'test', 'rows')").await;
        let sql = "
            insert into tandem.batch_control (
                batch_id, schema_name, table_name, status, started_at, ended_at, lsn, system_identifier, timeline,
                row_count, error
            )
            select $1, 'sales', 'sales_transaction', $3, ended_at - interval '1 minute', ended_at,
                pg_current_wal_insert_lsn(), system_identifier, 1, 5, case when $3 = 'FAILED' then 'the disk is full' end
            from pg_control_system(), (select now() - make_interval(mins => $2) as ended_at) as moment
        ";
        sqlx::query(sql).bind(batch).bind(minutes).bind(status).execute(&mut self.primary).await.unwrap();
    }

    /// Registers a batch that goes on since so many minutes.
    async fn in_progress(&mut self, batch: &str, minutes: i32) {
        let sql = "
            insert into tandem.batch_control (batch_id, schema_name, table_name, status, started_at)
            values ($1, 'sales', 'sales_transaction', 'IN_PROGRESS', now() - make_interval(mins => $2))
        ";
        sqlx::query(sql).bind(batch).bind(minutes).execute(&mut self.primary).await.unwrap();
    }
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.unwrap();
}

/// Batch and health of all batches, as the function orders them.
async fn healths(connection: &mut PgConnection) -> Vec<String> {
    let sql = "
        select batch_id || ' ' || health
        from tandem.check_batch_replication_status('sales', 'sales_transaction')
    ";
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

async fn until(connection: &mut PgConnection, question: &str) {
    let until = Instant::now() + CONFIRMED_LIMIT;
    while !sqlx::query_scalar::<_, bool>(AssertSqlSafe(question)).fetch_one(&mut *connection).await.unwrap() {
        assert!(Instant::now() < until, "not yet: {question}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn until_healths(connection: &mut PgConnection, expected: &[&str]) {
    let until = Instant::now() + CONFIRMED_LIMIT;
    loop {
        let found = healths(connection).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < until, "{found:?} and not {expected:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn each_side_tells_ready_replicating_slow_and_stuck_apart_by_what_it_can_know() {
    let mut sides = Sides::open().await;
    // Applied and confirmed: however long ago.
    sides.ended("old", 70, "COMPLETED").await;
    until_healths(&mut sides.replica, &["old READY"]).await;
    until_healths(&mut sides.primary, &["old READY"]).await;
    while_apply_stands_still(&mut sides).await;
    while_batches_go_on(&mut sides).await;
    while_a_table_is_copied(&mut sides).await;
    without_a_replica(&mut sides).await;
}

async fn while_apply_stands_still(sides: &mut Sides) {
    run(&mut sides.replica, "alter subscription tandem_subscription disable").await;
    until(&mut sides.primary, "select not exists (select from pg_replication_slots where active)").await;
    sides.ended("young", 10, "COMPLETED").await;
    sides.ended("broken", 11, "FAILED").await;
    sides.ended("slow", 31, "COMPLETED").await;
    sides.ended("stuck", 61, "COMPLETED").await;
    sides.in_progress("going", 5).await;
    sides.in_progress("silent", 65).await;
    sides.in_progress("writing", 66).await;
    let part = "insert into tandem.batch_part (batch_id, part, transaction_ids) values ('writing', 1, '{}')";
    run(&mut sides.primary, part).await;
    let expected = [
        "silent STUCK",
        "stuck STUCK",
        "slow SLOW",
        "broken REPLICATING",
        "young REPLICATING",
        "going REPLICATING",
        "writing REPLICATING",
        "old READY",
    ];
    assert_eq!(healths(&mut sides.primary).await, expected);
    assert_eq!(healths(&mut sides.replica).await, ["old READY"], "nothing of the others is known here");

    let sql = "
        select batch_id, lag_bytes > 0, batch_lsn > replicated_lsn, minutes_since_completion between 31 and 32
        from tandem.check_batch_replication_status('sales', 'sales_transaction') where health = 'SLOW'
    ";
    let slow: (String, bool, bool, bool) = sqlx::query_as(sql).fetch_one(&mut sides.primary).await.unwrap();
    assert_eq!(slow, ("slow".to_owned(), true, true, true));
}

/// All arrives. What goes on, as far as a replica knows, may have ended since the newest watermark.
async fn while_batches_go_on(sides: &mut Sides) {
    run(&mut sides.replica, "alter subscription tandem_subscription enable").await;
    let ready = ["broken READY", "old READY", "stuck READY", "slow READY", "young READY"];
    let [replicating, slow, stuck] = [
        ["silent REPLICATING", "writing REPLICATING", "going REPLICATING"],
        ["silent SLOW", "writing SLOW", "going REPLICATING"],
        ["silent STUCK", "writing STUCK", "going REPLICATING"],
    ];
    for (minutes, going_on) in [(10, replicating), (31, slow), (61, stuck)] {
        // No service runs here that would write one.
        let watermark = format!(
            "insert into tandem.watermark (writer, system_identifier, timeline, lsn, written_at)
            select 'test', system_identifier, 1, pg_current_wal_insert_lsn(), now() - interval '{minutes} minutes'
            from pg_control_system()
            on conflict (writer) do update set written_at = excluded.written_at, lsn = excluded.lsn"
        );
        run(&mut sides.primary, &watermark).await;
        until_healths(&mut sides.replica, &[going_on.as_slice(), &ready].concat()).await;
    }
    // The primary knows which of them is still written.
    let expected = [["silent STUCK", "going REPLICATING", "writing REPLICATING"].as_slice(), &ready].concat();
    until_healths(&mut sides.primary, &expected).await;
    run(&mut sides.primary, "delete from tandem.batch_control where status = 'IN_PROGRESS'").await;
    until_healths(&mut sides.replica, &ready).await;
}

/// The stream has passed everything, and a copy has still to bring rows.
async fn while_a_table_is_copied(sides: &mut Sides) {
    run(&mut sides.primary, "create table public.late (id integer primary key)").await;
    run(&mut sides.replica, "create table public.late (id integer primary key)").await;
    run(&mut sides.primary, "alter publication tandem_publication add table public.late").await;
    run(&mut sides.primary, "grant select on public.late to tandem_replication").await;
    // A copy's slot has a beginning once everybody has ended who was writing. (A lock on the table would also hold up REFRESH.)
    let mut blocking = sides.primary.begin().await.unwrap();
    run(&mut blocking, "select pg_current_xact_id()").await;
    run(&mut sides.replica, "alter subscription tandem_subscription refresh publication").await;
    let late = ["old STUCK", "stuck STUCK", "slow SLOW", "broken REPLICATING", "young REPLICATING"];
    until_healths(&mut sides.replica, &late).await;
    until_healths(&mut blocking, &late).await;
    blocking.rollback().await.unwrap();
    let ready = ["broken READY", "old READY", "stuck READY", "slow READY", "young READY"];
    until_healths(&mut sides.replica, &ready).await;
    until_healths(&mut sides.primary, &ready).await;
}

async fn without_a_replica(sides: &mut Sides) {
    run(&mut sides.replica, "drop subscription tandem_subscription").await;
    let late = ["old STUCK", "stuck STUCK", "slow SLOW", "broken REPLICATING", "young REPLICATING"];
    assert_eq!(healths(&mut sides.primary).await, late, "nobody has them");
    let of_slow = "select lag_bytes from tandem.check_batch_replication_status('sales', 'sales_transaction') limit 1";
    let lag: Option<i64> = sqlx::query_scalar(of_slow).fetch_one(&mut sides.primary).await.unwrap();
    assert_eq!(lag, None);
    let ready = ["broken READY", "old READY", "stuck READY", "slow READY", "young READY"];
    assert_eq!(healths(&mut sides.replica).await, ready, "what was applied stays");
    the_newest_of_each_table(sides).await;
}

/// All three functions, as a caller would use them, on both sides.
async fn the_newest_of_each_table(sides: &mut Sides) {
    let newest = "select batch_id from tandem.check_latest_batch_replication_status('sales', 'sales_transaction')";
    let several = "
        select schema_name || '.' || table_name || ' ' || coalesce(batch_id || ' ' || health, 'none')
        from tandem.check_multiple_tables_replication_status(
            array['sales.sales_item', 'sales.sales_transaction', 'sales.sales_transaction']
        )
    ";
    for (connection, health) in [(&mut sides.primary, "REPLICATING"), (&mut sides.replica, "READY")] {
        let found: Vec<String> = sqlx::query_scalar(newest).fetch_all(&mut *connection).await.unwrap();
        assert_eq!(found, ["young"]);
        let found: Vec<String> = sqlx::query_scalar(several).fetch_all(&mut *connection).await.unwrap();
        assert_eq!(found, [format!("sales.sales_transaction young {health}"), "sales.sales_item none".to_owned()]);
        let none = "select count(*) from tandem.check_latest_batch_replication_status('sales', 'no_such_table')";
        assert_eq!(sqlx::query_scalar::<_, i64>(none).fetch_one(connection).await.unwrap(), 0);
    }
}
