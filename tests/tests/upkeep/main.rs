//! Ways back: a replica that went astray holds what its primary holds again, while both are in use.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

mod change;
mod conflict;
mod cut_off;
mod replicas;
mod resync;
mod traffic;

use std::{
    collections::HashSet,
    mem::discriminant,
    process::Output,
    sync::{Arc, Mutex as Lock},
    time::Duration,
};

use sqlx::{AssertSqlSafe, PgConnection};
use tandem_proto::sales::{command::v1::CreateTransactionResponse, v1::SalesItem};
use tandem_tests::{Tandem, program::run_to_end, request};
use tandem_upkeep::{Addresses, Step, UpkeepError};
use tokio::{
    process::Command,
    sync::{Mutex, MutexGuard, Notify, OnceCell},
    time::sleep,
};
use xtask::{
    postgres::{Login, TestOptions, TestPair},
    service::{Binaries, Service, give_environment, migrate_environment},
};

/// One pair for all tests here, one test at a time: each breaks it and mends it.
async fn alone() -> MutexGuard<'static, Tandem> {
    static PAIR: OnceCell<Mutex<Tandem>> = OnceCell::const_new();
    let start = || async { Mutex::new(Tandem::start(TestOptions::default()).await.unwrap()) };
    PAIR.get_or_init(start).await.lock().await
}

fn addresses(tandem: &Tandem) -> Addresses {
    Addresses {
        primary_url: tandem.pair.url(Login::Replication),
        replica_url: tandem.pair.url(Login::ReplicaAdmin),
        subscription: "tandem_subscription".to_owned(),
    }
}

/// Runs a subcommand of `tandem-query` as an operator does.
async fn operate(tandem: &Tandem, arguments: &[&str]) -> Output {
    run_to_end(operation(tandem, arguments).await).await.unwrap()
}

async fn operation(tandem: &Tandem, arguments: &[&str]) -> Command {
    let binary = Binaries::from_environment().await.unwrap().path(Service::Query);
    let mut command = std::process::Command::new(binary);
    give_environment(&mut command, &migrate_environment(&tandem.pair, Service::Query.into()));
    command.args(arguments).stdin(std::process::Stdio::null());
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

/// The same of `tandem-migrate`, with all of a pair's replicas.
async fn migration(pair: &TestPair, arguments: &[&str]) -> Command {
    let mut command = Command::new(Binaries::from_environment().await.unwrap().migrator());
    let urls: Vec<_> = pair.replicas().map(|(_, replica)| replica.admin_url()).collect();
    let subscriptions: Vec<_> = pair.replicas().map(|(number, _)| number.subscription()).collect();
    command.env("TANDEM_MIGRATE_PRIMARY_URL", pair.primary().admin_url());
    command.env("TANDEM_MIGRATE_REPLICA_URL", urls.join(",")).env("TANDEM_SUBSCRIPTION", subscriptions.join(","));
    command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
    command
}

async fn sell(tandem: &Tandem, store_id: i32, items: Vec<SalesItem>) -> CreateTransactionResponse {
    tandem.commands().create_transaction(request::create(request::sale(store_id, items))).await.unwrap().into_inner()
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.unwrap();
}

async fn count(connection: &mut PgConnection, question: &'static str) -> i64 {
    sqlx::query_scalar(question).fetch_one(connection).await.unwrap()
}

/// Does something again and again, cut off at the first step that was not met before, until it comes to its end: as if it
/// was killed at each. How many steps there were.
async fn killed_at_each_step<T, F: Future<Output = Result<T, UpkeepError>>>(
    doing: impl Fn(Box<dyn Fn(&Step) + Sync>) -> F,
) -> (usize, T) {
    let met = Arc::new(Lock::new(HashSet::new()));
    loop {
        let cut = Arc::new(Notify::new());
        let (cutting, meeting) = (Arc::clone(&cut), Arc::clone(&met));
        let observe = Box::new(move |step: &Step| {
            let name = match step {
                Step::Changing(what) | Step::Turning(what) => what.clone(),
                Step::Carrying(table, _) => table.clone(),
                other => format!("{:?}", discriminant(other)),
            };
            if meeting.lock().unwrap().insert(name) {
                cutting.notify_one();
            }
        });
        tokio::select! {
            biased;
            () = cut.notified() => {}
            done = doing(observe) => match done {
                Ok(done) => return (met.lock().unwrap().len(), done),
                // The one before is about to find out that it was left.
                Err(UpkeepError::Busy) => sleep(Duration::from_millis(10)).await,
                Err(error) => panic!("{}", error.with_causes()),
            },
        }
    }
}
