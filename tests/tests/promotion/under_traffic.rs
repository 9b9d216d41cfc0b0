//! Callers write, and try again what they got no answer to, while the primary is exchanged.

use std::{
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{Connection as _, PgConnection};
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
use tandem_upkeep::{Promoted, Step, promote};
use tokio::{
    process::Command,
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, transport::Channel};
use uuid::Uuid;
use xtask::{
    postgres::{Cluster, Login, ReplicaNumber, TestOptions},
    service::{Binaries, Instance, give_environment, migrate_environment},
};

use super::{
    SLOTS, addresses,
    catalog::{catalog, difference},
    connect, count, run,
};

type Commands = SalesCommandServiceClient<Channel>;
/// What was sent until it was answered, and the sale's id.
type Sold = (CreateTransactionRequest, String);

const STORE: i32 = 51;
const IMPORTED: i32 = 52;
const CALLERS: usize = 4;
/// Sales that are enough to say that all are selling.
const MORE: usize = 20;
/// What a caller waits before it tries again.
const BEFORE_A_RETRY: Duration = Duration::from_millis(20);
/// What a query service whose replica was exchanged under it has to notice that.
const LEARNS: Duration = Duration::from_secs(30);
const ANOTHER_SYSTEM: &str = "TOKEN_OF_ANOTHER_SYSTEM";

fn create(request_id: Uuid) -> CreateTransactionRequest {
    let sale = request::sale(STORE, vec![request::item("UNIT", 1, "1.00")]);
    CreateTransactionRequest { request_id: request_id.to_string(), ..request::create(sale) }
}

async fn until(reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            sleep(BEFORE_A_RETRY).await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.unwrap();
}

/// Callers that know where to call, and their sales.
struct Callers {
    calling: JoinSet<Vec<Sold>>,
    whom: Arc<Mutex<Commands>>,
    over: Arc<AtomicBool>,
    told: Arc<Told>,
}

/// How often callers were answered, and how often refused.
#[derive(Default)]
struct Told {
    sold: AtomicUsize,
    refused: AtomicUsize,
}

impl Callers {
    fn start(commands: Commands) -> Self {
        let whom = Arc::new(Mutex::new(commands));
        let (over, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Told::default()));
        let mut calling = JoinSet::new();
        for _ in 0..CALLERS {
            calling.spawn(sell(Arc::clone(&whom), Arc::clone(&over), Arc::clone(&told)));
        }
        Self { calling, whom, over, told }
    }

    async fn until_more_is_sold(&self) {
        let before = self.told.sold.load(Ordering::Relaxed);
        until(|| self.told.sold.load(Ordering::Relaxed) > before + MORE).await;
    }

    async fn until_one_is_refused(&self) {
        until(|| self.told.refused.load(Ordering::Relaxed) > 0).await;
    }

    async fn end(self) -> Vec<Sold> {
        self.over.store(true, Ordering::Relaxed);
        self.calling.join_all().await.into_iter().flatten().collect()
    }
}

/// Each sale until it is acknowledged, always with the same request id.
async fn sell(whom: Arc<Mutex<Commands>>, over: Arc<AtomicBool>, told: Arc<Told>) -> Vec<Sold> {
    let mut sold = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let create = create(Uuid::now_v7());
        let transaction_id = loop {
            let mut commands = whom.lock().unwrap().clone();
            match commands.create_transaction(create.clone()).await {
                Ok(answer) => break answer.into_inner().transaction.unwrap().transaction_id,
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                    told.refused.fetch_add(1, Ordering::Relaxed);
                    sleep(BEFORE_A_RETRY).await;
                }
            }
        };
        sold.push((create, transaction_id));
        told.sold.fetch_add(1, Ordering::Relaxed);
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
    let acknowledged = stream.until(40).await.unwrap().acknowledged.unwrap().last_row_number;
    let (mut old_admin, mut new_admin) = (connect(&old.admin_url()).await, connect(&new.admin_url()).await);
    let before = catalog(&mut old_admin).await;

    let callers = Callers::start(tandem.commands());
    callers.until_more_is_sold().await;
    let done = promoted_with_a_late_writer(&tandem).await;
    callers.until_one_is_refused().await;
    let mut commands = tandem.command_on(new).await.unwrap();
    *callers.whom.lock().unwrap() = commands.clone();
    callers.until_more_is_sold().await;
    let mut sold = callers.end().await;
    sold.push((first, first_id));

    is_told(done);
    each_sale_is_there_once(&mut new_admin, &mut commands, &sold).await;
    // An import goes on where it was.
    let stream = ImportStream::start(&commands, &resumed(&import, acknowledged)).await.unwrap();
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
    follow(&tandem, new).await;
    a_replica_knows_whose_token_is_whose(&tandem, &mut commands, &old_token, sold.len()).await;
}

/// An administrator who comes once everybody is locked out waits, and is refused in the end.
async fn promoted_with_a_late_writer(tandem: &Tandem) -> Promoted {
    let (locked, mut administrator) = (Arc::new(Notify::new()), tandem.primary().await);
    let late = Arc::clone(&locked);
    let late = tokio::spawn(async move {
        late.notified().await;
        sqlx::query("update sales.sales_transaction set cashier_id = 77").execute(&mut administrator).await
    });
    let observe = |step: &Step| {
        if let Step::WaitingForApply(_) = step {
            locked.notify_one();
        }
    };
    let done = promote(&addresses(tandem), &Options::default(), |_| true, observe).await.unwrap();
    let refused = late.await.unwrap().unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("57P01"), "{refused}");
    done
}

fn is_told(done: Promoted) {
    let record = done.record.unwrap();
    assert!((done.turned, done.lost_commits) == (true, Some(0)) && done.verify.unwrap().equal);
    assert!(record.applied_lsn >= record.drained_lsn);
    assert!(done.seconds_without_writes.unwrap() > 0.0);
    let mut slots = done.dropped_slots;
    slots.sort();
    assert_eq!(slots, ["tandem_subscription", "tandem_subscription_2"]);
}

/// And a retry is a replay.
async fn each_sale_is_there_once(primary: &mut PgConnection, commands: &mut Commands, sold: &[Sold]) {
    let sales = count(primary, "select count(*) from sales.sales_transaction where store_id = 51").await;
    assert_eq!(usize::try_from(sales).unwrap(), sold.len());
    for (create, transaction_id) in sold.iter().take(20).chain(sold.last()) {
        let again = commands.create_transaction(create.clone()).await.unwrap();
        assert_eq!(again.metadata().get("tandem-replayed").unwrap(), "true");
        assert_eq!(again.into_inner().transaction.unwrap().transaction_id, *transaction_id);
    }
}

async fn a_replica_knows_whose_token_is_whose(tandem: &Tandem, commands: &mut Commands, old_token: &str, sold: usize) {
    let second = ReplicaNumber::new(2).unwrap();
    let options = Options { subscription: second.subscription(), ..Options::default() };
    let replica_url = tandem.pair.replica_of(second).admin_url();
    let report = check(&tandem.pair.replica().admin_url(), &replica_url, &options).await.unwrap();
    assert!(report.equal, "{report}");
    let mut queries = SalesQueryServiceClient::new(channel(tandem.query_address_of(second)));
    let token = commands.create_transaction(create(Uuid::now_v7())).await.unwrap().into_inner().consistency_token;
    let ask = |token: &str| {
        let consistency = request::after(token);
        let ask = GetSummaryRequest { filter: request::in_store(STORE), consistency, ..GetSummaryRequest::default() };
        request::within(ask, Duration::from_secs(30))
    };
    // The service has run all the time, and learns from the new primary's first watermark whose replica it reads now.
    let since = Instant::now();
    let summary = loop {
        match queries.get_summary(ask(&token)).await {
            Ok(summary) => break summary.into_inner(),
            Err(status) => {
                assert!(since.elapsed() < LEARNS && request::reason(&status) == ANOTHER_SYSTEM, "{status:?}")
            }
        }
        sleep(BEFORE_A_RETRY).await;
    };
    assert_eq!(usize::try_from(summary.transactions).unwrap(), sold + 1);
    let status = queries.get_summary(ask(old_token)).await.unwrap_err();
    assert_eq!(request::reason(&status), ANOTHER_SYSTEM, "{status:?}");
}
