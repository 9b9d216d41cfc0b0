//! A caller may leave at any moment. What it asked for is then there as a whole or not at all, and the connection that
//! did it serves the next caller.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tandem_proto::sales::{
    command::v1::{CreateTransactionResponse, UpdateTransactionRequest},
    query::v1::ListTransactionsRequest,
    v1::SalesTransaction,
};
use tandem_tests::{
    Tandem,
    callers::leave,
    database::{until_command_is_at_rest, until_command_waits_for_a_lock},
    request::{create, item, reason, sale, strong},
};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinSet,
    time::timeout,
};
use tonic::Code;
use uuid::Uuid;

/// Every sale of the storm has as many.
const ITEMS: usize = 2;

/// Tests here look at the service's connections or take rights away: one at a time.
async fn alone() -> (MutexGuard<'static, ()>, &'static Tandem) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    (ONE_AT_A_TIME.lock().await, Tandem::shared().await)
}

async fn created(tandem: &Tandem, store_id: i32) -> CreateTransactionResponse {
    let items = vec![item("A", 2, "3.50"); ITEMS];
    tandem.commands().create_transaction(create(sale(store_id, items))).await.unwrap().into_inner()
}

fn id_of(response: CreateTransactionResponse) -> Uuid {
    response.transaction.unwrap().transaction_id.parse().unwrap()
}

/// How many of these sales a database has.
async fn count(connection: &mut PgConnection, ids: &[Uuid]) -> usize {
    let sql = "select count(*) from sales.sales_transaction where transaction_id = any($1)";
    let count: i64 = sqlx::query_scalar(sql).bind(ids).fetch_one(connection).await.unwrap();
    usize::try_from(count).unwrap()
}

#[tokio::test]
async fn an_update_whose_caller_left_while_it_waited_is_carried_out_whole_and_harms_no_later_call() {
    let (_alone, tandem) = alone().await;
    let before = created(tandem, 1).await.transaction.unwrap();
    let id: Uuid = before.transaction_id.parse().unwrap();

    let (mut holder, mut admin) = (tandem.primary().await, tandem.primary().await);
    let mut lock = holder.begin().await.unwrap();
    let locked = "select from sales.sales_transaction where transaction_id = $1 for update";
    sqlx::query(locked).bind(id).execute(&mut *lock).await.unwrap();
    let items = vec![item("B", 1, "1.00"), item("C", 1, "2.00"), item("D", 1, "4.00")];
    let transaction = SalesTransaction { transaction_id: before.transaction_id, ..sale(77, items) };
    let asked = UpdateTransactionRequest { transaction: Some(transaction), ..Default::default() };
    let mut commands = tandem.commands();
    let call = tokio::spawn(async move { commands.update_transaction(asked).await });
    until_command_waits_for_a_lock(&mut admin).await;
    leave(call).await;
    lock.rollback().await.unwrap();

    until_command_is_at_rest(&mut admin).await;
    let sql = "
        select store_id, version, total_amount::text,
            (select count(*) from sales.sales_item as item where item.transaction_id = $1)
        from sales.sales_transaction where transaction_id = $1
    ";
    let after: (i32, i64, String, i64) = sqlx::query_as(sql).bind(id).fetch_one(&mut admin).await.unwrap();
    assert_eq!(after, (77, 2, "7.00".to_owned(), 3), "the command goes on without its caller");

    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(id_of(created(tandem, 1).await));
    }
    assert_eq!(count(&mut admin, &ids).await, ids.len(), "an acknowledged sale is on the primary");
}

/// 1,000 creates whose callers leave after 0 to 15 ms, in steps of 15 µs: somewhere among them is every moment of a
/// create, from the head of the request to COMMIT. Those that were answered in time.
async fn storm(tandem: &'static Tandem) -> (Vec<Uuid>, usize) {
    let mut callers = JoinSet::new();
    for caller in 0..10_u64 {
        callers.spawn(async move {
            let mut commands = tandem.commands();
            let (mut answered, mut left) = (Vec::new(), 0);
            for number in 0..100 {
                let asked = create(sale(2, vec![item("A", 1, "1.50"); ITEMS]));
                let patience = Duration::from_micros((number * 10 + caller) * 15);
                match timeout(patience, commands.create_transaction(asked)).await {
                    Ok(response) => answered.push(id_of(response.unwrap().into_inner())),
                    Err(_) => left += 1,
                }
            }
            (answered, left)
        });
    }
    let callers = callers.join_all().await;
    let left = callers.iter().map(|(_, left)| left).sum();
    (callers.into_iter().flat_map(|(answered, _)| answered).collect(), left)
}

/// Sales whose items are not all there, and items without their sale.
async fn halves(connection: &mut PgConnection) -> Vec<Uuid> {
    let sql = "
        select coalesce(sale.transaction_id, item.transaction_id)
        from sales.sales_transaction as sale
        full join (
            select transaction_id, count(*) as items, sum(total_price) as amount
            from sales.sales_item group by transaction_id
        ) as item using (transaction_id)
        where sale.total_amount is distinct from item.amount or (sale.store_id = 2 and item.items <> $1)
    ";
    sqlx::query_scalar(sql).bind(i64::try_from(ITEMS).unwrap()).fetch_all(connection).await.unwrap()
}

#[tokio::test]
async fn a_storm_of_callers_that_leave_neither_halves_a_sale_nor_loses_a_later_one() {
    let (_alone, tandem) = alone().await;
    let (mut ids, left) = storm(tandem).await;
    assert!(left > 0, "nobody left early");

    let mut later = JoinSet::new();
    for _ in 0..100 {
        later.spawn(async { id_of(created(tandem, 2).await) });
    }
    ids.extend(later.join_all().await);

    let mut primary = tandem.primary().await;
    until_command_is_at_rest(&mut primary).await;
    assert_eq!(count(&mut primary, &ids).await, ids.len(), "an acknowledged sale is on the primary");
    assert_eq!(halves(&mut primary).await, Vec::<Uuid>::new(), "a sale on the primary is whole");
    let log = std::fs::read_to_string(tandem.pair.primary().log_file()).unwrap();
    let inherited: Vec<_> = log.lines().filter(|line| line.contains("already a transaction in progress")).collect();
    assert!(inherited.is_empty(), "a caller got a connection inside of another's transaction: {inherited:#?}");

    let asked = ListTransactionsRequest { consistency: strong(), ..ListTransactionsRequest::default() };
    tandem.queries().list_transactions(asked).await.unwrap();
    let mut replica = tandem.replica().await;
    assert_eq!(count(&mut replica, &ids).await, ids.len(), "an acknowledged sale is on the replica");
    assert_eq!(halves(&mut replica).await, Vec::<Uuid>::new(), "a sale on the replica is whole");
}

#[tokio::test]
async fn an_error_after_the_commit_never_says_that_nothing_was_changed() {
    let (_alone, tandem) = alone().await;
    let mut admin = tandem.primary().await;
    // A lane reads a position when it connects: that one is let pass.
    created(tandem, 4).await;
    // Another is read after COMMIT, so this fails a command that has been carried out.
    sqlx::query("revoke execute on function pg_current_wal_insert_lsn() from public")
        .execute(&mut admin)
        .await
        .unwrap();
    let asked = create(sale(3, vec![item("A", 1, "1.00")]));
    let answer = tandem.commands().create_transaction(asked).await;
    sqlx::query("grant execute on function pg_current_wal_insert_lsn() to public").execute(&mut admin).await.unwrap();

    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unknown, "OUTCOME_UNKNOWN"), "{status:?}");
    let sql = "select count(*) from sales.sales_transaction where store_id = 3";
    assert_eq!(sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut admin).await.unwrap(), 1);
}
