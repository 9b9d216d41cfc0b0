//! A pair with its services and a Prometheus, and the troubles that can be made for them.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tandem_proto::sales::command::v1::sales_command_service_client::SalesCommandServiceClient;
use tandem_tests::{
    channel,
    database::{disable_subscription, until},
    program::{Program, verifier},
    prometheus::Prometheus,
    request::{create, item, sale},
};
use xtask::{
    postgres::{Mode, TestOptions, TestPair},
    process::{Pid, Signal, signal},
    service::Service,
};

/// A sale that stands on the replica before the primary has it.
const CONFLICTING: &str = "
    insert into sales.sales_transaction (
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        created_at, updated_at, version
    )
    values ('00000000-0000-7000-8000-000000000001', now(), 1, 1, 'cash', 1, 0, now(), now(), 1)";

pub struct Scene {
    pair: TestPair,
    command: Program,
    query: Option<Program>,
    _verifier: Program,
    prometheus: Prometheus,
    primary: PgConnection,
    replica: PgConnection,
    seen: BTreeSet<String>,
}

/// Locks that somebody holds on the replica, until they are let go or the test has ended.
pub struct Held(PgConnection);

impl Held {
    pub async fn let_go(mut self) {
        sqlx::raw_sql("rollback").execute(&mut self.0).await.unwrap();
    }
}

/// Goes on when it is dropped, also of a test that fails.
pub struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _best_effort = signal(self.0, Signal::CONT);
    }
}

impl Scene {
    pub async fn start(rules: &str) -> anyhow::Result<Self> {
        let primary_settings = vec![("max_slot_wal_keep_size".to_owned(), "64MB".to_owned())];
        let pair = TestPair::start(TestOptions { primary_settings, ..TestOptions::default() }).await?;
        let command = Program::start(&pair, Service::Command, &[]).await?;
        let query = Program::start(&pair, Service::Query, &[]).await?;
        // Each look of a verifier is a reason to fire for what it finds, and none for anything else.
        let verifier = Program::spawn(verifier(&pair, "2s", 3).await?).await?;
        let targets = [("tandem-query", query.metrics), ("tandem-verify", verifier.metrics)];
        let prometheus = Prometheus::start(rules, &targets).await?;
        let primary = PgConnection::connect(&pair.primary().admin_url()).await?;
        let replica = PgConnection::connect(&pair.replica().admin_url()).await?;
        Ok(Self {
            pair,
            command,
            query: Some(query),
            _verifier: verifier,
            prometheus,
            primary,
            replica,
            seen: BTreeSet::new(),
        })
    }

    /// Waits until exactly these alerts fire. A replica that stands still for long is stale, too, whatever the trouble is, and
    /// can't be verified.
    pub async fn expect(&mut self, alerts: &[&str]) {
        let metrics = async |query: &Option<Program>| match query {
            Some(query) => query.scrape().await.unwrap_or_default(),
            None => String::new(),
        };
        let may: &[&str] = if alerts.is_empty() { &[] } else { &["TandemReplicaStale", "TandemVerifyOverdue"] };
        if let Err(error) = self.prometheus.until_firing(alerts, may).await {
            panic!("{error}\n{}", metrics(&self.query).await);
        }
        self.seen.extend(alerts.iter().map(|&name| name.to_owned()));
    }

    /// Every alert that was expected so far, and came.
    pub const fn seen(&self) -> &BTreeSet<String> {
        &self.seen
    }

    async fn on_primary(&mut self, statements: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(statements.into())).execute(&mut self.primary).await.unwrap();
    }

    async fn on_replica(&mut self, statements: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(statements.into())).execute(&mut self.replica).await.unwrap();
    }

    /// What the runbooks have one ask is understood.
    pub async fn ask(&mut self, of_primary: Vec<String>, of_replica: Vec<String>) {
        for question in of_primary {
            self.on_primary(question).await;
        }
        for question in of_replica {
            self.on_replica(question).await;
        }
    }

    pub async fn leave_a_slot_behind(&mut self) {
        self.on_primary("select pg_create_logical_replication_slot('left_behind', 'pgoutput')").await;
    }

    pub async fn remove_the_slot(&mut self) {
        self.on_primary("select pg_drop_replication_slot('left_behind')").await;
    }

    /// A row that the primary does not have.
    pub async fn spoil_the_replica(&mut self) {
        self.on_replica(CONFLICTING).await;
    }

    pub async fn change_one_side_alone(&mut self) {
        self.on_primary("alter table sales.sales_item add column colour text").await;
    }

    pub async fn change_the_side_back(&mut self) {
        self.on_primary("alter table sales.sales_item drop column colour").await;
    }

    /// With a sale that waits to be folded.
    pub async fn hold_up_the_rollups(&mut self) -> Held {
        let folds = "select exists (select from pg_locks where locktype = 'advisory')";
        until(&mut self.replica, "the service folds", folds).await;
        let mut held = self.another_on_replica().await;
        sqlx::raw_sql("select generation from tandem.fold for update").execute(&mut held.0).await.unwrap();
        let mut commands = SalesCommandServiceClient::new(channel(self.command.grpc));
        commands.create_transaction(create(sale(1, vec![item("A", 1, "1.00")]))).await.unwrap();
        held
    }

    async fn another_on_replica(&self) -> Held {
        let mut connection = PgConnection::connect(&self.pair.replica().admin_url()).await.unwrap();
        sqlx::raw_sql("begin").execute(&mut connection).await.unwrap();
        Held(connection)
    }

    pub async fn freeze_the_apply_worker(&mut self) -> Frozen {
        let worker = "select pid from pg_stat_subscription where relid is null and pid is not null";
        let pid: i32 = sqlx::query_scalar(worker).fetch_one(&mut self.replica).await.unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        signal(pid, Signal::STOP).unwrap();
        Frozen(pid)
    }

    pub async fn rename_the_subscription(&mut self, name: &str) {
        let rename = "select format('alter subscription %I rename to ', subname) from pg_subscription";
        let rename: String = sqlx::query_scalar(rename).fetch_one(&mut self.replica).await.unwrap();
        self.on_replica(rename + name).await;
    }

    /// A role of the primary can't log in any more, and is not logged in.
    pub async fn lock_out(&mut self, role: &str) {
        self.on_primary(format!(
            "alter role {role} nologin; select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"
        ))
        .await;
    }

    pub async fn let_in(&mut self, role: &str) {
        self.on_primary(format!("alter role {role} login")).await;
    }

    pub async fn plant_a_conflict(&mut self) {
        self.on_replica(CONFLICTING).await;
        self.on_primary(CONFLICTING).await;
    }

    pub async fn remove_the_conflict(&mut self) {
        self.on_replica(
            "delete from sales.sales_transaction where transaction_id = '00000000-0000-7000-8000-000000000001'",
        )
        .await;
    }

    /// A table that is published anew, and that somebody keeps the replica from filling.
    pub async fn hold_up_a_copy(&mut self) -> Held {
        let table = "create table sales.later (id integer primary key)";
        self.on_replica(table).await;
        self.on_primary(table).await;
        let publish = "grant select on sales.later to tandem_replication;
            alter publication tandem_publication add table sales.later (id);
            insert into sales.later values (1)";
        self.on_primary(publish).await;
        let mut held = self.another_on_replica().await;
        sqlx::raw_sql("lock table sales.later in share mode").execute(&mut held.0).await.unwrap();
        self.on_replica("alter subscription tandem_subscription refresh publication").await;
        held
    }

    pub async fn disable(&mut self) {
        disable_subscription(&mut self.replica).await;
    }

    /// Segments of 16 MB, of which hardly anything is used, until the slot of the replica is in this state.
    pub async fn fill_wal_until(&mut self, state: &str) {
        let question = format!("select {state} from pg_replication_slots where slot_name = 'tandem_subscription'");
        while !sqlx::query_scalar::<_, bool>(AssertSqlSafe(question.clone()))
            .fetch_one(&mut self.primary)
            .await
            .unwrap()
        {
            let fill = "select pg_logical_emit_message(false, 'tandem', 'x'); select pg_switch_wal(); checkpoint";
            self.on_primary(fill).await;
        }
    }

    pub async fn stop_the_replica(&mut self) {
        self.pair.replica().stop(Mode::Immediate).await.unwrap();
    }

    pub async fn kill_the_service(&mut self) {
        self.query.take().unwrap().kill().await.unwrap();
    }
}
