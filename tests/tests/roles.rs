//! Who may do what, as the databases themselves enforce it: the least that each part needs.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;
use xtask::postgres::{Cluster, DATABASE, Login, TestOptions, TestPair};

const DENIED: &str = "42501";

/// The databases alone: no service is needed to ask them.
async fn pair() -> &'static TestPair {
    static PAIR: OnceCell<TestPair> = OnceCell::const_new();
    PAIR.get_or_init(|| async { TestPair::start(TestOptions::default()).await.unwrap() }).await
}

async fn connect(login: Login) -> PgConnection {
    PgConnection::connect(&pair().await.url(login)).await.unwrap()
}

/// The server's code for why a statement failed; nothing when it was carried out.
async fn refusal(connection: &mut PgConnection, statement: &str) -> Option<String> {
    let error = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.err()?;
    let code = error.as_database_error().and_then(|error| error.code()).map(Cow::into_owned);
    Some(code.unwrap_or_else(|| panic!("{statement}: {error}")))
}

async fn assert_denied(connection: &mut PgConnection, statements: &[&str]) {
    for statement in statements {
        let refused = refusal(connection, statement).await;
        assert_eq!(refused.as_deref(), Some(DENIED), "{statement}");
    }
}

async fn assert_allowed(connection: &mut PgConnection, statements: &[&str]) {
    for statement in statements {
        assert_eq!(refusal(connection, statement).await, None, "{statement}");
    }
}

/// Why a login is refused.
async fn login_refusal(cluster: &Cluster, role: &str, password: &str) -> Option<String> {
    let error = PgConnection::connect(&cluster.url(role, password, DATABASE)).await.err()?;
    error.as_database_error().and_then(|error| error.code()).map(Cow::into_owned)
}

const READ_SALES: &str = "select transaction_id from sales.sales_transaction limit 1";
const READ_ITEMS: &str = "select item_id from sales.sales_item limit 1";
const READ_WATERMARKS: &str = "select writer from tandem.watermark limit 1";
const READ_BATCHES: &str = "select batch_id from tandem.batch_control limit 1";
const READ_BATCH_PARTS: &str = "select batch_id from tandem.batch_part limit 1";
const READ_REQUEST_IDS: &str = "select request_id from tandem.request_id limit 1";

/// What would change a table or its rows, of any of the tables that both sides have.
const CHANGES: [&str; 9] = [
    "insert into sales.sales_item (item_id) values (null)",
    "update sales.sales_transaction set store_id = 1",
    "delete from sales.sales_transaction",
    "truncate sales.sales_item",
    "delete from tandem.watermark",
    "update tandem.batch_control set row_count = 0",
    "alter table sales.sales_item add column note text",
    "drop table sales.sales_item",
    "create index on sales.sales_item (quantity)",
];

/// What would make something new, wherever a role might be let.
const CREATIONS: [&str; 7] = [
    "create table sales.mine (id integer)",
    "create table tandem.mine (id integer)",
    "create table public.mine (id integer)",
    "create temporary table mine (id integer)",
    "create schema mine",
    "create role mine",
    "create publication mine",
];

#[tokio::test]
async fn the_query_role_reads_and_changes_nothing_even_when_it_switches_read_only_off() {
    let mut query = connect(Login::Query).await;
    assert_allowed(&mut query, &[READ_SALES, READ_ITEMS, READ_WATERMARKS, READ_BATCHES]).await;
    let by_default = refusal(&mut query, "delete from sales.sales_transaction").await;
    assert_eq!(by_default.as_deref(), Some("25006"), "a role that only reads reads only");
    assert_allowed(&mut query, &["set default_transaction_read_only = off"]).await;
    assert_denied(&mut query, &CHANGES).await;
    assert_denied(&mut query, &CREATIONS).await;
    assert_denied(&mut query, &["alter subscription tandem_subscription disable"]).await;
}

#[tokio::test]
async fn each_side_knows_its_own_roles_only() {
    let pair = pair().await;
    let password = |login| pair.passwords().expose(login);
    let unknown = Some("28P01".to_owned());
    assert_eq!(login_refusal(pair.primary(), "tandem_query", password(Login::Query)).await, unknown);
    for login in [Login::Command, Login::Replication, Login::Monitor] {
        assert_eq!(login_refusal(pair.replica(), login.role(), password(login)).await, unknown, "{login:?}");
    }
}

#[tokio::test]
async fn the_command_role_writes_rows_and_never_the_shape_of_tables() {
    let mut command = connect(Login::Command).await;
    assert_allowed(&mut command, &[READ_SALES, READ_ITEMS, READ_WATERMARKS, READ_BATCHES, READ_REQUEST_IDS]).await;
    let written = [
        "delete from sales.sales_transaction where transaction_id = gen_random_uuid()",
        "delete from tandem.batch_control where batch_id = 'none'",
        "delete from tandem.batch_part where batch_id = 'none'",
    ];
    assert_allowed(&mut command, &written).await;
    assert_denied(&mut command, &CREATIONS).await;
    let shape = [
        "truncate sales.sales_transaction, sales.sales_item",
        "truncate tandem.request_id",
        "alter table sales.sales_item drop constraint sales_item_quantity_check",
        "alter table sales.sales_transaction disable trigger all",
        "drop table sales.sales_item",
        "drop schema sales cascade",
        "alter publication tandem_publication drop table sales.sales_item",
        "drop publication tandem_publication",
        "alter role tandem_command superuser",
        "alter system set wal_level = minimal",
        "copy sales.sales_item to program 'true'",
        "set role tandem_owner",
        "select pg_create_logical_replication_slot('mine', 'pgoutput')",
        "select pg_drop_replication_slot('tandem_subscription')",
    ];
    assert_denied(&mut command, &shape).await;
}

#[tokio::test]
async fn the_monitor_sees_positions_and_slots_and_no_sale() {
    let mut monitor = connect(Login::Monitor).await;
    let open = [
        "select pg_current_wal_insert_lsn()",
        "select slot_name, active, wal_status, restart_lsn from pg_replication_slots",
        "select pubname from pg_publication",
    ];
    assert_allowed(&mut monitor, &open).await;
    let slots: i64 =
        sqlx::query_scalar("select count(*) from pg_replication_slots").fetch_one(&mut monitor).await.unwrap();
    assert_eq!(slots, 1);
    assert_denied(&mut monitor, &[READ_SALES, READ_ITEMS, READ_WATERMARKS, READ_REQUEST_IDS]).await;
    assert_denied(&mut monitor, &[READ_BATCHES, READ_BATCH_PARTS]).await;
    assert_denied(&mut monitor, &CHANGES).await;
    assert_denied(&mut monitor, &CREATIONS).await;
    assert_denied(&mut monitor, &["select pg_drop_replication_slot('tandem_subscription')"]).await;
}

#[tokio::test]
async fn the_replication_role_reads_what_is_published_and_nothing_else() {
    let mut replication = connect(Login::Replication).await;
    assert_allowed(&mut replication, &[READ_SALES, READ_ITEMS, READ_WATERMARKS, READ_BATCHES]).await;
    assert_denied(&mut replication, &[READ_REQUEST_IDS, READ_BATCH_PARTS]).await;
    assert_denied(&mut replication, &CHANGES).await;
    assert_denied(&mut replication, &CREATIONS).await;

    let sql = "
        select format('%s.%s', table_schema, table_name) from information_schema.table_privileges
        where grantee = 'tandem_replication'
        except
        select format('%s.%s', schemaname, tablename) from pg_publication_tables where pubname = 'tandem_publication'
    ";
    let mut admin = connect(Login::PrimaryAdmin).await;
    let beyond: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut admin).await.unwrap();
    assert_eq!(beyond, Vec::<String>::new());
}

#[tokio::test]
async fn no_role_of_ours_can_more_than_log_in_and_only_one_replicates() {
    let sql = "
        select rolname::text, rolcanlogin, rolreplication,
            rolsuper or rolcreaterole or rolcreatedb or rolbypassrls
                or exists (select from pg_auth_members where member = role.oid) as more
        from pg_roles as role where rolname like 'tandem\\_%' and rolname <> 'tandem_admin' order by 1
    ";
    let role = |name: &str, login, replication| (name.to_owned(), login, replication, false);
    let mut primary = connect(Login::PrimaryAdmin).await;
    let on_primary: Vec<(String, bool, bool, bool)> = sqlx::query_as(sql).fetch_all(&mut primary).await.unwrap();
    let expected = [
        role("tandem_command", true, false),
        role("tandem_monitor", true, false),
        role("tandem_owner", false, false),
        role("tandem_replication", true, true),
    ];
    assert_eq!(on_primary, expected);
    let mut replica = connect(Login::ReplicaAdmin).await;
    let on_replica: Vec<(String, bool, bool, bool)> = sqlx::query_as(sql).fetch_all(&mut replica).await.unwrap();
    assert_eq!(on_replica, [role("tandem_owner", false, false), role("tandem_query", true, false)]);
}

#[tokio::test]
async fn a_role_that_nobody_let_in_stays_out_of_both_databases() {
    let pair = pair().await;
    for cluster in [pair.primary(), pair.replica()] {
        let mut admin = cluster.connect(DATABASE).await.unwrap();
        sqlx::query("create role stranger login password 'stranger'").execute(&mut admin).await.unwrap();
        assert_eq!(login_refusal(cluster, "stranger", "stranger").await.as_deref(), Some(DENIED));
        sqlx::query("drop role stranger").execute(&mut admin).await.unwrap();
    }
}
