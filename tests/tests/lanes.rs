//! Many callers' commands in one commit: each gets its own answer, and none is hurt by its neighbours.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::{collections::HashSet, time::Duration};

use sqlx::{Connection as _, Executor as _, PgConnection};
use tandem_proto::sales::{
    command::v1::{
        BatchCreateTransactionsRequest, CreateTransactionRequest, CreateTransactionResponse, DeleteTransactionRequest,
        UpdateTransactionRequest, sales_command_service_client::SalesCommandServiceClient,
    },
    v1::SalesTransaction,
};
use tandem_tests::{
    Tandem,
    database::until,
    request::{create, item, reason, sale},
};
use tokio::{task::JoinHandle, time::timeout};
use tonic::{Code, Response, Status, transport::Channel};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use xtask::postgres::{TestOptions, TestPair};

type Answer = Result<Response<CreateTransactionResponse>, Status>;

/// Nobody waits longer than this in a test: whoever does is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

async fn own() -> Tandem {
    Tandem::start(TestOptions::default()).await.unwrap()
}

fn with_id(store_id: i32) -> CreateTransactionRequest {
    let request_id = Uuid::now_v7().to_string();
    CreateTransactionRequest { request_id, ..create(sale(store_id, vec![item("A", 1, "1.00"), item("B", 2, "0.50")])) }
}

fn call(commands: SalesCommandServiceClient<Channel>, asked: CreateTransactionRequest) -> JoinHandle<Answer> {
    let mut commands = commands;
    tokio::spawn(async move { commands.create_transaction(asked).await })
}

/// Holds up every write of sales, so that commands pile up in their lane.
async fn hold_up(connection: &mut PgConnection) -> sqlx::PgTransaction<'_> {
    let mut transaction = connection.begin().await.unwrap();
    transaction.execute("lock table sales.sales_transaction in exclusive mode").await.unwrap();
    transaction
}

/// Waits until somebody waits for the lock.
async fn until_held_up(tandem: &Tandem) {
    let mut watcher = tandem.primary().await;
    let waiting = "select count(*) from pg_stat_activity where usename = 'tandem_command' and wait_event_type = 'Lock'";
    timeout(PATIENCE, async {
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut watcher).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("a lane waits for the lock");
}

async fn count(tandem: &Tandem, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&mut tandem.primary().await).await.unwrap()
}

const SALES: &str = "select count(*) from sales.sales_transaction";
const TRANSACTIONS: &str = "select count(distinct xmin::text) from sales.sales_transaction";

#[tokio::test]
async fn commands_that_pile_up_are_committed_together() {
    const CALLERS: usize = 100;
    let tandem = own().await;
    let mut admin = tandem.primary().await;
    let lock = hold_up(&mut admin).await;
    let first = call(tandem.commands(), with_id(1));
    until_held_up(&tandem).await;
    let commands = tandem.commands();
    let calls: Vec<_> = (0..CALLERS).map(|_| call(commands.clone(), with_id(1))).collect();
    // All have arrived once a call behind them on the same connection is answered.
    commands.clone().create_transaction(CreateTransactionRequest::default()).await.unwrap_err();
    lock.rollback().await.unwrap();
    for call in calls.into_iter().chain([first]) {
        timeout(PATIENCE, call).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(count(&tandem, SALES).await, 101);
    let transactions = count(&tandem, TRANSACTIONS).await;
    assert!(transactions <= 10, "101 sales took {transactions} transactions");
}

#[tokio::test]
async fn one_poisoned_command_among_a_hundred_fails_alone() {
    // What only the database can refuse: the service knows nothing of this.
    let poison = "alter table sales.sales_transaction add constraint no_such_store check (store_id <> 666)";
    // The database names the row, so that the others are tried again once.
    let transactions = a_hundred_with_one_poisoned(poison).await;
    assert!(transactions <= 5, "99 sales took {transactions} transactions");
}

#[tokio::test]
async fn a_poisoned_command_that_the_database_does_not_name_fails_alone_as_well() {
    let poison = "
        create function public.no_such_store() returns trigger language plpgsql as
        $$ begin if new.store_id = 666 then raise 'no_such_store'; end if; return new; end $$;
        create trigger no_such_store before insert on sales.sales_transaction
        for each row execute function public.no_such_store()
    ";
    let transactions = a_hundred_with_one_poisoned(poison).await;
    assert!(transactions > 5, "the batch was not halved: the test proves nothing");
}

/// How many transactions the 99 took.
async fn a_hundred_with_one_poisoned(poison: &'static str) -> i64 {
    const POISON: i32 = 666;
    let tandem = own().await;
    let mut admin = tandem.primary().await;
    admin.execute(poison).await.unwrap();
    let lock = hold_up(&mut admin).await;
    let commands = tandem.commands();
    let stores = (1..=100).map(|number| if number == 37 { POISON } else { number });
    let calls: Vec<_> = stores.map(|store_id| (store_id, call(commands.clone(), with_id(store_id)))).collect();
    until_held_up(&tandem).await;
    lock.rollback().await.unwrap();
    for (store_id, call) in calls {
        match timeout(PATIENCE, call).await.unwrap().unwrap() {
            Ok(answer) => assert_eq!(answer.into_inner().transaction.unwrap().store_id, store_id),
            Err(status) => {
                assert_eq!((store_id, status.code()), (POISON, Code::Internal), "{status:?}");
                assert_eq!(reason(&status), "STORAGE");
                assert!(!status.message().contains("no_such_store"), "no word of the database passes");
            }
        }
    }
    assert_eq!(count(&tandem, SALES).await, 99);
    let claimed = count(&tandem, "select count(*) from tandem.request_id").await;
    assert_eq!(claimed, 99, "the poisoned command's request id is free again");
    count(&tandem, TRANSACTIONS).await
}

#[tokio::test]
async fn what_was_not_begun_when_the_connection_broke_is_not_said_to_be_unknown() {
    // The batch's own statement claims request ids; those that look for its culprit do not, and are held up.
    const HELD_UP_AT_THE_SEARCH: &str = "
        alter table sales.sales_transaction add constraint no_such_store check (store_id <> 666);
        create function public.hold_up() returns trigger language plpgsql as $$
            begin
                if current_query() not like '%tandem.request_id%' then perform pg_advisory_xact_lock_shared(7); end if;
                return new;
            end
        $$;
        create trigger hold_up before insert on sales.sales_item
            for each row when (new.product_code = 'HELD') execute function public.hold_up();
        select pg_advisory_lock(7)
    ";
    let tandem = own().await;
    let (mut admin, mut other) = (tandem.primary().await, tandem.primary().await);
    admin.execute(HELD_UP_AT_THE_SEARCH).await.unwrap();
    let lock = hold_up(&mut other).await;
    let first = call(tandem.commands(), with_id(1));
    until_held_up(&tandem).await;
    let mut commands = tandem.commands();
    let refused = BatchCreateTransactionsRequest {
        request_id: Uuid::now_v7().to_string(),
        transactions: vec![sale(2, vec![item("HELD", 1, "1.00")]), sale(666, vec![item("A", 1, "1.00")])],
        ..Default::default()
    };
    let mut for_refused = commands.clone();
    let refused = tokio::spawn(async move { for_refused.batch_create_transactions(refused).await });
    let neighbour = call(commands.clone(), with_id(3));
    // Both have arrived once a call behind them on the same connection is answered.
    commands.create_transaction(CreateTransactionRequest::default()).await.unwrap_err();
    lock.rollback().await.unwrap();
    timeout(PATIENCE, first).await.unwrap().unwrap().unwrap();

    let searching = "select count(*) = 1 from pg_locks where locktype = 'advisory' and not granted";
    until(&mut other, "the culprit is looked for", searching).await;
    let kill = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and not granted";
    other.execute(kill).await.unwrap();
    let refused = timeout(PATIENCE, refused).await.unwrap().unwrap().unwrap_err();
    let neighbour = timeout(PATIENCE, neighbour).await.unwrap().unwrap().unwrap_err();
    for status in [refused, neighbour] {
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "DATABASE_UNAVAILABLE"),
            "{status:?}"
        );
    }
    assert_eq!(count(&tandem, SALES).await, 1, "neither was begun, or has left anything");
    commands.create_transaction(with_id(4)).await.unwrap();
}

#[tokio::test]
async fn creates_updates_and_deletes_share_a_commit_and_each_is_answered_for_itself() {
    let tandem = own().await;
    let mut commands = tandem.commands();
    let mut stored = Vec::new();
    for _ in 0..30 {
        stored.push(commands.create_transaction(with_id(1)).await.unwrap().into_inner().transaction.unwrap());
    }
    let mut admin = tandem.primary().await;
    let lock = hold_up(&mut admin).await;
    let first = call(tandem.commands(), with_id(1));
    until_held_up(&tandem).await;
    let mut updates = Vec::new();
    let mut deletes = Vec::new();
    for (number, sale) in stored.iter().enumerate() {
        let (mut commands, id) = (tandem.commands(), sale.transaction_id.clone());
        if number % 3 == 0 {
            let delete = DeleteTransactionRequest { transaction_id: id, ..Default::default() };
            deletes.push(tokio::spawn(async move { commands.delete_transaction(delete).await }));
        } else {
            // Every second update asks for a version that is not there.
            let etag = if number % 3 == 1 { "v1" } else { "v7" }.to_owned();
            let transaction = SalesTransaction { transaction_id: id, etag, store_id: 5, ..Default::default() };
            let update = UpdateTransactionRequest { transaction: Some(transaction), ..Default::default() };
            updates.push((number, tokio::spawn(async move { commands.update_transaction(update).await })));
        }
    }
    let more = call(tandem.commands(), with_id(9));
    lock.rollback().await.unwrap();
    for call in [first, more] {
        call.await.unwrap().unwrap();
    }
    for delete in deletes {
        delete.await.unwrap().unwrap();
    }
    for (number, update) in updates {
        match update.await.unwrap() {
            Ok(answer) => assert_eq!((number % 3, answer.into_inner().etag.as_str()), (1, "v2")),
            Err(status) => assert_eq!((number % 3, reason(&status).as_str()), (2, "ETAG_MISMATCH")),
        }
    }
    assert_eq!(count(&tandem, SALES).await, 22);
    assert_eq!(count(&tandem, "select count(*) from sales.sales_transaction where store_id = 5").await, 10);
    assert_eq!(count(&tandem, "select count(*) from sales.sales_item").await, 44);
}

#[tokio::test]
async fn one_request_id_is_carried_out_once_by_two_services() {
    let tandem = own().await;
    let services = [tandem.commands(), tandem.another_command().await.unwrap()];
    let asked = with_id(1);
    let calls: Vec<_> = (0..64).map(|number| call(services[number % 2].clone(), asked.clone())).collect();
    let (mut ids, mut replayed) = (HashSet::new(), 0);
    for call in calls {
        let answer = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap();
        replayed += usize::from(answer.metadata().contains_key("tandem-replayed"));
        ids.insert(answer.into_inner().transaction.unwrap().transaction_id);
    }
    assert_eq!((ids.len(), replayed, count(&tandem, SALES).await), (1, 63, 1));
}

#[tokio::test]
async fn two_hundred_conditional_updates_of_one_sale_have_one_winner() {
    let tandem = own().await;
    let stored = tandem.commands().create_transaction(with_id(1)).await.unwrap().into_inner().transaction.unwrap();
    let services = [tandem.commands(), tandem.another_command().await.unwrap()];
    let update = |number: usize| {
        let store_id = i32::try_from(number).unwrap() + 2;
        let transaction_id = stored.transaction_id.clone();
        let transaction = SalesTransaction { transaction_id, store_id, etag: "v1".to_owned(), ..Default::default() };
        let asked = UpdateTransactionRequest { transaction: Some(transaction), ..Default::default() };
        let mut commands = services[number % 2].clone();
        tokio::spawn(async move { commands.update_transaction(asked).await })
    };
    let updates: Vec<_> = (0..200).map(update).collect();
    let mut winners = 0;
    for update in updates {
        match timeout(PATIENCE, update).await.unwrap().unwrap() {
            Ok(_) => winners += 1,
            Err(status) => assert_eq!(reason(&status), "ETAG_MISMATCH"),
        }
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_says_when_to_come_again() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let tandem = Tandem::serve(pair, &["--lane-queue", "2", "--lane-batch", "1"]).await.unwrap();
    let mut admin = tandem.primary().await;
    let lock = hold_up(&mut admin).await;
    let first = call(tandem.commands(), with_id(1));
    until_held_up(&tandem).await;
    let commands = tandem.commands();
    let mut calls: Vec<_> = (0..8).map(|_| call(commands.clone(), with_id(1))).collect();
    let mut refused = 0;
    // Six of the eight are refused while the first is still held up.
    while refused < 6 {
        let (answer, _, left) = timeout(PATIENCE, futures::future::select_all(calls)).await.unwrap();
        let status = answer.unwrap().unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "QUEUE_FULL"));
        assert!(status.get_details_retry_info().is_some());
        refused += 1;
        calls = left;
    }
    lock.rollback().await.unwrap();
    for call in calls.into_iter().chain([first]) {
        timeout(PATIENCE, call).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn every_acknowledged_command_is_there_once_though_the_primary_is_killed_under_load() {
    const WORKERS: usize = 8;
    const SALES_EACH: usize = 60;
    let tandem = own().await;
    let worker = |_| {
        let mut commands = tandem.commands();
        tokio::spawn(async move {
            let mut unsure = 0;
            for _ in 0..SALES_EACH {
                let asked = with_id(1);
                while let Err(status) = commands.create_transaction(asked.clone()).await {
                    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                    unsure += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            unsure
        })
    };
    let workers: Vec<_> = (0..WORKERS).map(worker).collect();
    while count(&tandem, SALES).await < 50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tandem.pair.primary().kill().await.unwrap();
    tandem.pair.primary().start().await.unwrap();
    let mut unsure = 0;
    for worker in workers {
        unsure += timeout(PATIENCE, worker).await.unwrap().unwrap();
    }
    assert!(unsure > 0, "the kill was not felt: the test proves nothing");
    let expected = i64::try_from(WORKERS * SALES_EACH).unwrap();
    assert_eq!(count(&tandem, SALES).await, expected);
    assert_eq!(count(&tandem, "select count(*) from sales.sales_item").await, 2 * expected);
}

#[tokio::test]
async fn old_request_ids_are_removed_and_young_ones_stay() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let mut admin = pair.primary().connect("tandem").await.unwrap();
    let old = "
        insert into tandem.request_id (request_id, payload_hash, created_at, outcome)
        select gen_random_uuid(), sha256('x'), now() - interval '8 days' * (number % 2), '{}'
        from generate_series(1, 24000) as number
    ";
    admin.execute(old).await.unwrap();
    let tandem = Tandem::serve(pair, &[]).await.unwrap();
    timeout(PATIENCE, async {
        while count(&tandem, "select count(*) from tandem.request_id").await > 12_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("old request ids are removed");
    assert_eq!(count(&tandem, "select count(*) from tandem.request_id").await, 12_000);
}
