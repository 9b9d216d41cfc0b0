//! How a replica subscribes: whose slot it uses, what it refuses, and what it keeps to itself.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::fs;

use sqlx::{Connection as _, PgConnection};
use tandem_query::store::{MigrateError, SlotError, SubscribeError, Subscriber, Upstream, migrate};
use xtask::{
    postgres::{DATABASE, Login, TestOptions, TestPair},
    service::{Binaries, Service},
};

const SLOT: &str = "tandem_subscription";
const MAKE_SLOT: &str = "select pg_create_logical_replication_slot('tandem_subscription', 'pgoutput')";

/// A migrated primary and an empty replica, with all that a replica's migrate needs.
struct Fresh {
    pair: TestPair,
    upstream: Upstream,
    subscriber: Subscriber,
}

impl Fresh {
    async fn start(options: TestOptions) -> Self {
        let pair = TestPair::bare(options).await.unwrap();
        pair.migrate(&Binaries::from_environment().await.unwrap(), Service::Command).await.unwrap();
        let password = fs::read_to_string(pair.passwords().file(Login::Replication)).unwrap();
        let upstream = Upstream {
            host: "127.0.0.1".to_owned(),
            port: pair.primary().port(),
            database: DATABASE.to_owned(),
            user: Login::Replication.role().to_owned(),
            password: password.trim_end().to_owned().into(),
            ssl_mode: "prefer",
            ssl_root_cert: None,
        };
        Self { pair, upstream, subscriber: Subscriber { subscription: SLOT.to_owned(), take_over_slot: false } }
    }

    async fn migrate(&self) -> Result<(), MigrateError> {
        self.migrate_with(&self.upstream).await
    }

    async fn migrate_with(&self, upstream: &Upstream) -> Result<(), MigrateError> {
        let mut primary = PgConnection::connect(&self.pair.url(Login::Replication)).await.unwrap();
        migrate(&mut self.replica().await, &mut primary, upstream, &self.subscriber, None).await
    }

    async fn primary(&self) -> PgConnection {
        PgConnection::connect(&self.pair.primary().admin_url()).await.unwrap()
    }

    async fn replica(&self) -> PgConnection {
        PgConnection::connect(&self.pair.replica().admin_url()).await.unwrap()
    }

    async fn on_primary(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&mut self.primary().await).await.unwrap();
    }

    async fn on_replica(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&mut self.replica().await).await.unwrap();
    }

    async fn is_subscribed(&self) -> bool {
        let question = "select exists (select from pg_subscription) and not exists (select from tandem.subscribing)";
        sqlx::query_scalar(question).fetch_one(&mut self.replica().await).await.unwrap()
    }

    /// Stands where a migrate stood that was killed before it created the subscription. The slot is still there.
    async fn forget_subscription(&self) {
        self.on_replica(
            "alter subscription tandem_subscription disable;
            alter subscription tandem_subscription set (slot_name = none);
            drop subscription tandem_subscription;",
        )
        .await;
    }
}

fn slot_error(migrated: Result<(), MigrateError>) -> SlotError {
    match migrated {
        Err(MigrateError::Subscribe(SubscribeError::Slot(error))) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_log_of_the_replica_has_the_password_whether_subscribing_works_or_fails() {
    let settings =
        [("log_statement", "all"), ("log_min_duration_statement", "0"), ("log_min_error_statement", "error")];
    let replica_settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let fresh = Fresh::start(TestOptions { replica_settings, ..TestOptions::default() }).await;
    const WRONG: &str = "not-the-password-of-anybody";
    let wrong = Upstream {
        host: fresh.upstream.host.clone(),
        database: fresh.upstream.database.clone(),
        user: fresh.upstream.user.clone(),
        password: WRONG.to_owned().into(),
        ssl_root_cert: None,
        ..fresh.upstream
    };
    let failed = fresh.migrate_with(&wrong).await.unwrap_err();
    assert!(matches!(failed, MigrateError::Subscribe(SubscribeError::Step { .. })), "{failed:?}");
    fresh.migrate().await.unwrap();
    assert!(fresh.is_subscribed().await);
    let failed = fresh.migrate_with(&wrong).await.unwrap_err();
    assert!(matches!(failed, MigrateError::Subscribe(SubscribeError::Step { .. })), "{failed:?}");
    fresh.migrate().await.unwrap();

    let log = fs::read_to_string(fresh.pair.replica().log_file()).unwrap();
    assert!(log.contains("could not connect to the publisher"), "it failed where it should:\n{log}");
    assert!(log.contains("create table"), "statements are logged");
    let right = fs::read_to_string(fresh.pair.passwords().file(Login::Replication)).unwrap();
    for password in [WRONG, right.trim_end()] {
        let found: Vec<_> = log.lines().filter(|line| line.contains(password)).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

#[tokio::test]
async fn a_slot_that_somebody_else_made_is_taken_over_only_by_who_is_told_to() {
    let mut fresh = Fresh::start(TestOptions::default()).await;
    fresh.on_primary(MAKE_SLOT).await;
    let refused = slot_error(fresh.migrate().await);
    assert!(matches!(refused, SlotError::OfAnotherReplica { .. }), "{refused:?}");
    assert!(refused.to_string().contains("--take-over-slot"), "{refused}");
    assert!(!fresh.is_subscribed().await);
    fresh.subscriber.take_over_slot = true;
    fresh.migrate().await.unwrap();
    assert!(fresh.is_subscribed().await);
}

#[tokio::test]
async fn a_migrate_that_was_killed_half_way_finds_its_own_slot_again() {
    let fresh = Fresh::start(TestOptions::default()).await;
    // Upstream lets us make the slot, and the replica's server can't log in: as good as killed in between.
    let password = "wrong".to_owned().into();
    let upstream = &fresh.upstream;
    let (host, database, user) = (upstream.host.clone(), upstream.database.clone(), upstream.user.clone());
    let wrong = Upstream { host, database, user, password, ssl_root_cert: None, ..*upstream };
    fresh.migrate_with(&wrong).await.unwrap_err();
    let slots = "select count(*) from pg_replication_slots where slot_name = 'tandem_subscription'";
    let slots: i64 = sqlx::query_scalar(slots).fetch_one(&mut fresh.primary().await).await.unwrap();
    assert_eq!(slots, 1, "the slot is left behind");
    // Killed even earlier, before it could note where the slot begins.
    fresh.on_replica("update tandem.subscribing set slot_lsn = null").await;
    fresh.migrate().await.unwrap();
    assert!(fresh.is_subscribed().await);
}

#[tokio::test]
async fn a_slot_that_was_made_anew_after_ours_is_not_ours() {
    let fresh = Fresh::start(TestOptions::default()).await;
    fresh.migrate().await.unwrap();
    fresh.forget_subscription().await;
    let refused = slot_error(fresh.migrate().await);
    assert!(matches!(refused, SlotError::OfAnotherReplica { .. }), "a slot in use is no intention: {refused:?}");

    fresh.on_primary("select pg_drop_replication_slot('tandem_subscription')").await;
    fresh
        .on_replica(
            "insert into tandem.subscribing (subscription, system_identifier, slot_lsn)
            values ('tandem_subscription', 1, null)",
        )
        .await;
    fresh.on_primary(MAKE_SLOT).await;
    let refused = slot_error(fresh.migrate().await);
    assert!(matches!(refused, SlotError::OfAnotherReplica { .. }), "of another primary: {refused:?}");
    let identifier: i64 = sqlx::query_scalar("select system_identifier from pg_control_system()")
        .fetch_one(&mut fresh.primary().await)
        .await
        .unwrap();
    sqlx::query("update tandem.subscribing set system_identifier = $1, slot_lsn = '0/1'")
        .bind(identifier)
        .execute(&mut fresh.replica().await)
        .await
        .unwrap();
    let refused = slot_error(fresh.migrate().await);
    assert!(matches!(refused, SlotError::OfAnotherReplica { .. }), "of another beginning: {refused:?}");
}

#[tokio::test]
async fn a_slot_that_no_subscription_could_use_is_refused_even_when_told_to_take_it() {
    let mut fresh = Fresh::start(TestOptions::default()).await;
    fresh.subscriber.take_over_slot = true;
    let mut elsewhere = fresh.pair.primary().connect("postgres").await.unwrap();
    sqlx::raw_sql(MAKE_SLOT).execute(&mut elsewhere).await.unwrap();
    let refused = slot_error(fresh.migrate().await);
    assert!(refused.to_string().contains("of another database"), "{refused}");
    sqlx::raw_sql("select pg_drop_replication_slot('tandem_subscription')").execute(&mut elsewhere).await.unwrap();

    fresh.on_primary("select pg_create_logical_replication_slot('tandem_subscription', 'test_decoding')").await;
    let refused = slot_error(fresh.migrate().await);
    assert!(refused.to_string().contains("of another output plugin"), "{refused}");
    fresh.on_primary("select pg_drop_replication_slot('tandem_subscription')").await;

    let mut holder = fresh.primary().await;
    let temporary = "select pg_create_logical_replication_slot('tandem_subscription', 'pgoutput', true)";
    sqlx::raw_sql(temporary).execute(&mut holder).await.unwrap();
    let refused = slot_error(fresh.migrate().await);
    assert!(refused.to_string().contains("is temporary"), "{refused}");
}

#[tokio::test]
async fn a_column_that_the_replica_lacks_is_named_before_anything_is_subscribed() {
    let fresh = Fresh::start(TestOptions::default()).await;
    let add_column = "
        alter table sales.sales_item add column colour text;
        alter publication tandem_publication add table sales.sales_item_of_later;
    ";
    fresh.on_primary("create table sales.sales_item_of_later (id integer primary key)").await;
    fresh.on_primary("grant select on sales.sales_item_of_later to tandem_replication").await;
    fresh.on_primary(add_column).await;
    fresh
        .on_primary(
            "alter publication tandem_publication drop table sales.sales_item;
            alter publication tandem_publication add table sales.sales_item (item_id, transaction_id, product_code,
                product_name, category, quantity, unit_price, discount, total_price, colour)",
        )
        .await;
    let expected = ["sales.sales_item.colour", "sales.sales_item_of_later.id"];
    match fresh.migrate().await {
        Err(MigrateError::ColumnsMissing { columns }) => assert_eq!(columns, expected),
        other => panic!("{other:?}"),
    }
    assert!(!fresh.is_subscribed().await);
    fresh.on_replica("alter table sales.sales_item add column colour text").await;
    fresh.on_replica("create table sales.sales_item_of_later (id integer primary key)").await;
    fresh.migrate().await.unwrap();
    assert!(fresh.is_subscribed().await);
    // Also where there is a subscription already, before it is refreshed.
    fresh.on_replica("alter table sales.sales_item drop column colour").await;
    assert!(matches!(fresh.migrate().await, Err(MigrateError::ColumnsMissing { .. })));
}
