//! Callers write, and try again what they got no answer to, while the primary is exchanged.

use std::{
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::Connection as _;
use tandem_convergence::{Options, check};
use tandem_proto::sales::{
    command::v1::{CreateTransactionRequest, sales_command_service_client::SalesCommandServiceClient},
    query::v1::{GetSummaryRequest, sales_query_service_client::SalesQueryServiceClient},
};
use tandem_tests::{
    Tandem, channel,
    import::{ImportStream, new_import, resumed, rows},
    program::run_to_end,
    request,
};
use tandem_upkeep::promote;
use tokio::{process::Command, task::JoinSet, time::sleep};
use tonic::{Code, transport::Channel};
use uuid::Uuid;
use xtask::{
    postgres::{Cluster, Login, ReplicaNumber, TestOptions},
    service::{Binaries, Instance, give_environment, migrate_environment},
};

use super::{SLOTS, addresses, catalog::catalog, connect, count, run};

type Commands = SalesCommandServiceClient<Channel>;

const STORE: i32 = 51;
const IMPORTED: i32 = 52;
const CALLERS: usize = 4;
/// What a caller waits before it tries again.
const BEFORE_A_RETRY: Duration = Duration::from_millis(20);

fn create(request_id: Uuid) -> CreateTransactionRequest {
    let sale = request::sale(STORE, vec![request::item("UNIT", 1, "1.00")]);
    CreateTransactionRequest { request_id: request_id.to_string(), ..request::create(sale) }
}

/// Callers that know where to call, and their sales.
struct Callers {
    calling: JoinSet<Vec<(CreateTransactionRequest, String)>>,
    whom: Arc<Mutex<Commands>>,
    over: Arc<AtomicBool>,
    refused: Arc<AtomicBool>,
}

impl Callers {
    fn start(commands: Commands) -> Self {
        let whom = Arc::new(Mutex::new(commands));
        let (over, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut calling = JoinSet::new();
        for _ in 0..CALLERS {
            calling.spawn(sell(Arc::clone(&whom), Arc::clone(&over), Arc::clone(&refused)));
        }
        Self { calling, whom, over, refused }
    }

    async fn end(self) -> Vec<(CreateTransactionRequest, String)> {
        self.over.store(true, Ordering::Relaxed);
        self.calling.join_all().await.into_iter().flatten().collect()
    }
}

/// Each sale until it is acknowledged, always with the same request id.
async fn sell(
    whom: Arc<Mutex<Commands>>,
    over: Arc<AtomicBool>,
    refused: Arc<AtomicBool>,
) -> Vec<(CreateTransactionRequest, String)> {
    let mut sold = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let create = create(Uuid::now_v7());
        let transaction_id = loop {
            let mut commands = whom.lock().unwrap().clone();
            match commands.create_transaction(create.clone()).await {
                Ok(answer) => break answer.into_inner().transaction.unwrap().transaction_id,
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                    refused.store(true, Ordering::Relaxed);
                    sleep(BEFORE_A_RETRY).await;
                }
            }
        };
        sold.push((create, transaction_id));
    }
    sold
}

/// A service's `migrate`, told that another server is the primary.
async fn migrate(tandem: &Tandem, instance: Instance, primary: &Cluster) -> Output {
    let binary = Binaries::from_environment().await.unwrap().path(instance.service());
    let mut command = std::process::Command::new(binary);
    give_environment(&mut command, &migrate_environment(&tandem.pair, instance));
    command.arg("migrate").env("TANDEM_PRIMARY_PORT", primary.port().to_string());
    if instance == Instance::Command {
        let admin = tandem.pair.passwords().file(Login::ReplicaAdmin);
        command.env("TANDEM_PRIMARY_ADMIN_PASSWORD_FILE", admin);
    }
    run_to_end(Command::from(command)).await.unwrap()
}

fn succeeded(output: &Output) {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
}

/// The second replica begins anew, with the new primary.
async fn follow(tandem: &Tandem, primary: &Cluster) {
    let second = ReplicaNumber::new(2).unwrap();
    let cluster = tandem.pair.replica_of(second);
    let mut replica = connect(&cluster.admin_url()).await;
    let subscription = second.subscription();
    run(&mut replica, &format!("alter subscription {subscription} disable")).await;
    run(&mut replica, &format!("alter subscription {subscription} set (slot_name = none)")).await;
    run(&mut replica, &format!("drop subscription {subscription}")).await;
    replica.close().await.unwrap();
    let mut admin = cluster.connect("postgres").await.unwrap();
    run(&mut admin, "drop database tandem with (force)").await;
    run(&mut admin, "create database tandem").await;
    succeeded(&migrate(tandem, Instance::Query(second), primary).await);
}

#[tokio::test]
async fn a_replica_is_promoted_under_traffic_and_each_sale_is_there_once() {
    let tandem = Tandem::start(TestOptions { further_replicas: 1, ..TestOptions::default() }).await.unwrap();
    let (old, new) = (tandem.pair.primary(), tandem.pair.replica());
    // Acknowledged, and tried again afterwards all the same.
    let first = create(Uuid::now_v7());
    let answer = tandem.commands().create_transaction(first.clone()).await.unwrap().into_inner();
    let (first_id, old_token) = (answer.transaction.unwrap().transaction_id, answer.consistency_token);
    let import = new_import();
    let mut stream = ImportStream::start(&tandem.commands(), &import).await.unwrap();
    assert!(stream.rows(1, rows(IMPORTED, 1..=40)).await);
    let said = stream.until(40).await.unwrap();
    let mut old_admin = connect(&old.admin_url()).await;
    let before = catalog(&mut old_admin).await;

    let callers = Callers::start(tandem.commands());
    sleep(Duration::from_millis(200)).await;
    let done = promote(&addresses(&tandem), &Options::default(), |_| true, |_| ()).await.unwrap();
    let mut new_commands = tandem.command_on(new).await.unwrap();
    *callers.whom.lock().unwrap() = new_commands.clone();
    sleep(Duration::from_millis(200)).await;
    assert!(callers.refused.load(Ordering::Relaxed), "somebody was refused meanwhile");
    let sold = callers.end().await;

    // What is reported.
    let record = done.record.unwrap();
    assert!((done.turned, done.lost_commits) == (true, Some(0)) && done.verify.unwrap().equal);
    assert!(record.applied_lsn >= record.drained_lsn);
    assert!(done.seconds_without_writes.unwrap() > 0.0);
    let mut slots = done.dropped_slots;
    slots.sort();
    assert_eq!(slots, ["tandem_subscription", "tandem_subscription_2"]);

    // Each sale once, and a retry is a replay.
    let mut new_admin = connect(&new.admin_url()).await;
    let sales: i64 = sqlx::query_scalar("select count(*) from sales.sales_transaction where store_id = $1")
        .bind(STORE)
        .fetch_one(&mut new_admin)
        .await
        .unwrap();
    assert_eq!(usize::try_from(sales).unwrap(), sold.len() + 1);
    for (create, transaction_id) in sold.iter().take(20).chain([&(first, first_id)]) {
        let again = new_commands.create_transaction(create.clone()).await.unwrap();
        assert_eq!(again.metadata().get("tandem-replayed").unwrap(), "true");
        assert_eq!(again.into_inner().transaction.unwrap().transaction_id, *transaction_id);
    }
    // An import goes on where it was.
    let acknowledged = said.acknowledged.unwrap().last_row_number;
    let stream = ImportStream::start(&new_commands, &resumed(&import, acknowledged)).await.unwrap();
    assert_eq!(stream.started.last_row_number, 40);
    assert!(stream.rows(41, rows(IMPORTED, 41..=50)).await && stream.finish(50).await);
    assert_eq!(stream.end().await.unwrap().receipt.unwrap().rows_written, 50);

    // The old one lets nobody in, and holds no slot.
    let refused = tandem.connect(Login::Command).await.unwrap_err();
    assert!(refused.to_string().contains("not permitted to log in"), "{refused}");
    assert_eq!(count(&mut old_admin, SLOTS).await, 0);
    let status = tandem.commands().create_transaction(create(Uuid::now_v7())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");

    // The new one is what the old one was, and a migrate finds nothing to do.
    let after = catalog(&mut new_admin).await;
    assert_eq!(difference(&before, &after), Vec::<String>::new());
    succeeded(&migrate(&tandem, Instance::Command, new).await);
    assert_eq!(catalog(&mut new_admin).await, after);

    // A replica follows it, and knows whose token is whose.
    follow(&tandem, new).await;
    let options = Options { subscription: ReplicaNumber::new(2).unwrap().subscription(), ..Options::default() };
    let replica_url = tandem.pair.replica_of(ReplicaNumber::new(2).unwrap()).admin_url();
    let report = check(&new.admin_url(), &replica_url, &options).await.unwrap();
    assert!(report.equal, "{report}");
    let mut queries = SalesQueryServiceClient::new(channel(tandem.query_address_of(ReplicaNumber::new(2).unwrap())));
    let new_token =
        new_commands.create_transaction(create(Uuid::now_v7())).await.unwrap().into_inner().consistency_token;
    let ask = |token: &str| {
        let consistency = request::after(token);
        let ask = GetSummaryRequest { filter: request::in_store(STORE), consistency, ..GetSummaryRequest::default() };
        request::within(ask, Duration::from_secs(30))
    };
    let summary = queries.get_summary(ask(&new_token)).await.unwrap().into_inner();
    assert_eq!(usize::try_from(summary.transactions).unwrap(), sold.len() + 2);
    let status = queries.get_summary(ask(&old_token)).await.unwrap_err();
    assert_eq!(request::reason(&status), "TOKEN_OF_ANOTHER_SYSTEM", "{status:?}");
}

/// Lines that one of them lacks.
fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let lost = before.iter().filter(|line| !after.contains(line)).map(|line| format!("lost: {line}"));
    let gained = after.iter().filter(|line| !before.contains(line)).map(|line| format!("gained: {line}"));
    lost.chain(gained).collect()
}
