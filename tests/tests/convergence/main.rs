//! The verifier on real pairs: it finds what was planted, names it, and says so when it can't tell.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

mod faults;
mod program;
mod schedule;

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tandem_convergence::{CheckError, Options, Report, Side, Verdict, check};
use xtask::postgres::{DATABASE, Mode, TestOptions, TestPair};

/// Small tables with what matters: money, text, an absent value, a column of each kind that is hashed in a way of its own, two of
/// one kind that can trade values, and a machine table that heartbeats write.
const TABLES: &str = "
    create schema shop;
    create table shop.receipt (
        id integer primary key, total numeric(12, 2) not null, note text, paid numeric(12, 2) not null default 0,
        gift bigint, voucher bigint, day date not null default '2026-01-01', at timestamptz not null default '2026-01-01',
        open boolean not null default true, extra json not null default '{}'
    );
    create table shop.line (id integer primary key, amount integer not null);
    create table shop.heartbeat (id integer primary key, at timestamptz not null);
";

const RECEIPTS: &str = "
    insert into shop.receipt (id, total, note, gift, voucher)
    select number, number * 1.25, case when number % 3 = 0 then null else 'note ' || number end,
        number, case when number % 2 = 0 then 7 end
    from generate_series(1, 1000) as number
";

/// A pair that is never still: `shop.heartbeat` may be written at any time.
struct Shop {
    pair: TestPair,
    primary: PgConnection,
    replica: PgConnection,
}

impl Shop {
    async fn open() -> Self {
        let pair = TestPair::bare(TestOptions::default()).await.unwrap();
        let mut primary = pair.primary().connect(DATABASE).await.unwrap();
        let mut replica = pair.replica().connect(DATABASE).await.unwrap();
        run(&mut primary, TABLES).await;
        run(&mut replica, TABLES).await;
        run(&mut primary, RECEIPTS).await;
        run(&mut primary, "insert into shop.heartbeat (id, at) values (1, now())").await;
        run(&mut primary, "create publication tandem_publication for table shop.receipt, shop.line, shop.heartbeat")
            .await;
        let source = pair.primary().admin_url();
        let subscribe =
            format!("create subscription tandem_subscription connection '{source}' publication tandem_publication");
        run(&mut replica, &subscribe).await;
        Self { pair, primary, replica }
    }

    async fn check_within(&self, seconds: u64) -> Result<Report, CheckError> {
        let options = Options { timeout: Duration::from_secs(seconds), ..Options::default() };
        check(&self.pair.primary().admin_url(), &self.pair.replica().admin_url(), &options).await
    }

    async fn check(&self) -> Report {
        self.check_within(60).await.unwrap()
    }

    async fn on_primary(&mut self, statement: &str) {
        run(&mut self.primary, statement).await;
    }

    async fn on_replica(&mut self, statement: &str) {
        run(&mut self.replica, statement).await;
    }
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.unwrap();
}

/// The tables that are not equal.
fn unequal(report: &Report) -> Vec<(&str, Verdict)> {
    let tables = report.tables.iter().filter(|table| table.verdict != Verdict::Equal);
    tables.map(|table| (table.table.as_str(), table.verdict)).collect()
}

#[tokio::test]
async fn an_equal_pair_is_equal_right_after_its_rows_were_written() {
    let mut shop = Shop::open().await;
    // Nobody waits for the first copy or for the stream: that is the check's own affair.
    shop.on_primary("insert into shop.line (id, amount) select n, n from generate_series(1, 500) as n").await;
    let report = shop.check().await;
    assert!(report.equal, "{report}");
    let tables: Vec<&str> = report.tables.iter().map(|table| table.table.as_str()).collect();
    assert_eq!(tables, ["shop.heartbeat", "shop.line", "shop.receipt"]);
    assert_eq!(report.rows(), 1 + 500 + 1_000);
    assert_eq!(report.tables[2].primary, report.tables[2].replica);
}

#[tokio::test]
async fn each_planted_fault_is_found_and_named_by_its_table() {
    let mut shop = Shop::open().await;
    assert!(shop.check().await.equal);
    let faults = [
        ("a missing row", "delete from shop.receipt where id = 500"),
        ("an extra row", "insert into shop.receipt (id, total) values (2000, 0)"),
        ("one cent more", "update shop.receipt set total = total + 0.01 where id = 7"),
        ("another text", "update shop.receipt set note = 'other' where id = 7"),
        ("a lost text", "update shop.receipt set note = null where id = 7"),
        ("two amounts of a row traded", "update shop.receipt set total = paid, paid = total where id = 7"),
        (
            "two numbers that may be absent traded",
            "update shop.receipt set gift = voucher, voucher = gift where id = 8",
        ),
        ("a null and a number traded", "update shop.receipt set gift = voucher, voucher = gift where id = 7"),
        ("the day after", "update shop.receipt set day = day + 1 where id = 7"),
        ("the moment after", "update shop.receipt set at = at + interval '1 microsecond' where id = 7"),
        ("the opposite", "update shop.receipt set open = not open where id = 7"),
        ("another spelling", "update shop.receipt set extra = '{ }' where id = 7"),
        (
            "two totals swapped",
            "update shop.receipt set total = case id when 1 then 2.50 else 1.25 end where id in (1, 2)",
        ),
    ];
    for (fault, statement) in faults {
        shop.on_replica(statement).await;
        let report = shop.check().await;
        assert_eq!(unequal(&report), [("shop.receipt", Verdict::Different)], "{fault}: {report}");
        assert!(!report.equal, "{fault}");
        assert!(report.fences >= 2, "{fault}: a difference needs two witnesses");
        let repair = format!("truncate shop.receipt; {RECEIPTS}");
        shop.on_replica(&repair).await;
        assert!(shop.check().await.equal, "after {fault} was repaired");
    }
}

#[tokio::test]
async fn writes_that_go_on_are_no_difference_and_a_fault_under_them_is_found() {
    let mut shop = Shop::open().await;
    let mut writer = shop.pair.primary().connect(DATABASE).await.unwrap();
    let writing = tokio::spawn(async move {
        for number in 1..=100_000 {
            let line = format!("insert into shop.line (id, amount) values ({number}, {number})");
            run(&mut writer, &line).await;
            run(&mut writer, "update shop.heartbeat set at = clock_timestamp() where id = 1").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    for _ in 0..10 {
        let report = shop.check().await;
        assert!(report.equal, "{report}");
    }
    shop.on_replica("delete from shop.receipt where id = 500").await;
    let report = shop.check().await;
    assert_eq!(unequal(&report), [("shop.receipt", Verdict::Different)], "{report}");
    assert!(!writing.is_finished(), "the writer ended before the checks did");
    writing.abort();
}

#[tokio::test]
async fn the_end_of_a_log_page_is_reached_on_an_idle_primary() {
    let mut shop = Shop::open().await;
    assert!(shop.check().await.equal);
    // Behind a switched segment the position names a place that only the next record reaches.
    shop.on_primary("select pg_switch_wal()").await;
    assert!(shop.check_within(10).await.unwrap().equal);
}

#[tokio::test]
async fn a_stopped_replica_is_no_difference_but_an_error_that_names_it() {
    let shop = Shop::open().await;
    shop.pair.replica().stop(Mode::Fast).await.unwrap();
    let error = shop.check_within(10).await.unwrap_err();
    assert!(matches!(error, CheckError::Connect { side: Side::Replica, .. }), "{error:?}");
}

#[tokio::test]
async fn a_replica_that_does_not_apply_is_behind_and_not_different() {
    let mut shop = Shop::open().await;
    assert!(shop.check().await.equal);

    let mut blocker = shop.pair.replica().connect(DATABASE).await.unwrap();
    let mut blocking = blocker.begin().await.unwrap();
    run(&mut blocking, "lock table shop.line in exclusive mode").await;
    shop.on_primary("insert into shop.line (id, amount) values (1, 1)").await;
    let error = shop.check_within(2).await.unwrap_err();
    assert!(matches!(error, CheckError::ReplicaBehind { state: "the apply worker runs", .. }), "{error:?}");
    blocking.rollback().await.unwrap();
    assert!(shop.check().await.equal);

    shop.on_replica("alter subscription tandem_subscription disable").await;
    shop.on_primary("insert into shop.line (id, amount) values (2, 2)").await;
    let error = shop.check_within(2).await.unwrap_err();
    assert!(matches!(error, CheckError::ReplicaBehind { state: "the subscription is disabled", .. }), "{error:?}");
}

#[tokio::test]
async fn a_first_copy_under_way_is_waited_for_and_named() {
    let mut shop = Shop::open().await;
    assert!(shop.check().await.equal);
    let late = "create table shop.late (id integer primary key)";
    shop.on_replica(late).await;
    let mut blocker = shop.pair.replica().connect(DATABASE).await.unwrap();
    let mut blocking = blocker.begin().await.unwrap();
    run(&mut blocking, "lock table shop.late in exclusive mode").await;
    shop.on_primary(&format!("{late}; insert into shop.late (id) values (1)")).await;
    shop.on_primary("alter publication tandem_publication add table shop.late").await;
    shop.on_replica("alter subscription tandem_subscription refresh publication").await;

    let inserted = "select pg_current_wal_insert_lsn()::text";
    let before: String = sqlx::query_scalar(inserted).fetch_one(&mut shop.primary).await.unwrap();
    let error = shop.check_within(2).await.unwrap_err();
    let CheckError::TablesNotReady { tables, .. } = &error else { panic!("{error:?}") };
    assert_eq!(tables.iter().map(ToString::to_string).collect::<Vec<_>>(), ["shop.late (being copied)"]);
    // Whoever waits moves the primary's log: an idle one may keep back what a copy that has caught up still needs.
    let after: String = sqlx::query_scalar(inserted).fetch_one(&mut shop.primary).await.unwrap();
    assert_ne!(before, after);
    blocking.rollback().await.unwrap();
    let report = shop.check().await;
    assert!(report.equal && report.tables.len() == 4, "{report}");
}

#[tokio::test]
async fn what_is_set_up_wrongly_is_said_before_anything_is_compared() {
    let mut shop = Shop::open().await;
    assert!(shop.check().await.equal);

    let primary = shop.pair.primary().admin_url();
    let error = check(&primary, &primary, &Options::default()).await.unwrap_err();
    assert!(matches!(error, CheckError::SameCluster { .. }), "{error:?}");

    let nothing = Options { publication: "no_publication".to_owned(), ..Options::default() };
    let error = check(&primary, &shop.pair.replica().admin_url(), &nothing).await.unwrap_err();
    assert!(matches!(error, CheckError::NothingPublished { .. }), "{error:?}");

    shop.on_primary("create table shop.late (id integer primary key)").await;
    shop.on_primary("alter publication tandem_publication add table shop.late").await;
    let error = shop.check_within(10).await.unwrap_err();
    assert!(
        matches!(&error, CheckError::TablesNotSubscribed { tables, .. } if tables[..] == ["shop.late"]),
        "{error:?}"
    );
    shop.on_primary("drop table shop.late").await;

    shop.on_primary("alter table shop.receipt add column later integer").await;
    let error = shop.check_within(10).await.unwrap_err();
    assert!(matches!(error, CheckError::SchemasDiffer { side: Side::Replica, .. }), "{error:?}");
}
