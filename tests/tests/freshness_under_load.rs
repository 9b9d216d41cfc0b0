//! Ten thousand times somebody writes and reads at once what was written: under load, while apply is slow, stands still for
//! moments or becomes visible late, beside other WAL, and of several services. No answer may be without the write, and no
//! wait may be out of proportion.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::{net::SocketAddr, time::Duration};

use futures::future::join_all;
use hdrhistogram::Histogram;
use sqlx::PgConnection;
use tandem_proto::{
    agreed::CONSISTENCY_TOKEN,
    sales::{
        command::v1::{UpdateTransactionRequest, sales_command_service_client::SalesCommandServiceClient},
        query::v1::{GetTransactionRequest, sales_query_service_client::SalesQueryServiceClient},
        v1::SalesTransaction,
    },
};
use tandem_tests::{
    Tandem, channel,
    database::until,
    program::Program,
    request::{after, create, item, sale, within},
};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, interval, sleep},
};
use tonic::{Code, transport::Channel};
use xtask::{
    process::{Pid, Signal, signal},
    service::Service,
};

const PLAIN: usize = 6_400;
const SLOW_APPLY: usize = 600;
const HALTING_APPLY: usize = 600;
const LATE_VISIBILITY: usize = 400;
const OTHER_WAL: usize = 1_200;
const TWO_SERVICES: usize = 800;
const _: () = assert!(PLAIN + SLOW_APPLY + HALTING_APPLY + LATE_VISIBILITY + OTHER_WAL + TWO_SERVICES == 10_000);

/// Longer than any wait that is allowed here, so that one that is too long is measured and not cut off.
const DEADLINE: Duration = Duration::from_secs(25);

/// How long reads may take.
struct Bounds {
    /// Half of them.
    median: Duration,
    /// Each of them.
    longest: Duration,
}

const fn bounds(median_milliseconds: u64, longest_seconds: u64) -> Bounds {
    Bounds { median: Duration::from_millis(median_milliseconds), longest: Duration::from_secs(longest_seconds) }
}

/// A scenario changes what all of them share: one at a time.
async fn alone() -> (MutexGuard<'static, ()>, &'static Tandem) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    (ONE_AT_A_TIME.lock().await, Tandem::shared().await)
}

/// One who writes and reads what was written.
struct Caller {
    commands: SalesCommandServiceClient<Channel>,
    queries: Vec<SalesQueryServiceClient<Channel>>,
    store_id: i32,
    last: Option<SalesTransaction>,
}

/// What came of a caller's reads.
#[derive(Default)]
struct Outcome {
    waits: Vec<Duration>,
    stale: Vec<String>,
}

impl Caller {
    fn new(tandem: &Tandem, services: &[SocketAddr], store_id: i32) -> Self {
        let queries = services.iter().map(|service| SalesQueryServiceClient::new(channel(*service))).collect();
        Self { commands: tandem.commands(), queries, store_id, last: None }
    }

    /// A new sale, or the last one changed; with the token that covers it.
    async fn write(&mut self, turn: usize) -> (SalesTransaction, String) {
        match self.last.take().filter(|_| turn % 3 == 2) {
            None => {
                let asked = create(sale(self.store_id, vec![item("A", 1, "1.00"), item("B", 2, "0.50")]));
                let stored = self.commands.create_transaction(within(asked, DEADLINE)).await.unwrap().into_inner();
                (stored.transaction.unwrap(), stored.consistency_token)
            }
            Some(SalesTransaction { transaction_id, etag, .. }) => {
                let cashier_id = 1 + i32::try_from(turn).unwrap();
                let changed = SalesTransaction { transaction_id, etag, cashier_id, ..SalesTransaction::default() };
                let asked = UpdateTransactionRequest { transaction: Some(changed), ..Default::default() };
                let stored = self.commands.update_transaction(within(asked, DEADLINE)).await.unwrap().into_inner();
                (stored.transaction.unwrap(), stored.consistency_token)
            }
        }
    }

    /// Writes and reads `pairs` times. The token goes into the message and into the metadata by turns.
    async fn run(mut self, pairs: usize) -> Outcome {
        let mut outcome = Outcome::default();
        for turn in 0..pairs {
            let (written, token) = self.write(turn).await;
            let transaction_id = written.transaction_id.clone();
            let consistency = after(&token).filter(|_| turn % 2 == 0);
            let mut asked = within(GetTransactionRequest { transaction_id, consistency }, DEADLINE);
            if turn % 2 == 1 {
                asked.metadata_mut().insert(CONSISTENCY_TOKEN, token.parse().unwrap());
            }
            let service = turn % self.queries.len();
            let begun = Instant::now();
            let read = self.queries[service].get_transaction(asked).await;
            outcome.waits.push(begun.elapsed());
            match read {
                Ok(read) if read.get_ref().transaction.as_ref() == Some(&written) => {}
                Ok(read) => outcome.stale.push(format!("{written:?} was written, {read:?} was read")),
                Err(status) if status.code() == Code::NotFound => outcome.stale.push(format!("{status:?}")),
                Err(status) => panic!("turn {turn}: {status:?}"),
            }
            self.last = Some(written);
        }
        outcome
    }
}

/// `pairs` of writes and reads by `callers` at a time, while `disturbance` goes on.
async fn proven(
    tandem: &Tandem,
    (callers, pairs): (usize, usize),
    further: Option<SocketAddr>,
    disturbance: impl Future<Output = ()>,
    Bounds { median, longest }: Bounds,
) {
    let services: Vec<_> = [tandem.query_address()].into_iter().chain(further).collect();
    assert_eq!(pairs % callers, 0, "all callers have as many turns");
    let load = join_all(
        (1..=callers).map(|caller| Caller::new(tandem, &services, i32::try_from(caller).unwrap()).run(pairs / callers)),
    );
    let begun = Instant::now();
    let outcomes = tokio::select! {
        outcomes = load => outcomes,
        () = disturbance => unreachable!("a disturbance goes on until the load is over"),
    };
    let took = begun.elapsed();
    let stale: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.stale).collect();
    assert!(stale.is_empty(), "{} of {pairs} answers are stale, the first: {}", stale.len(), stale[0]);
    let mut waits = Histogram::<u64>::new(3).unwrap();
    for wait in outcomes.iter().flat_map(|outcome| &outcome.waits) {
        waits.record(u64::try_from(wait.as_micros()).unwrap()).unwrap();
    }
    assert_eq!(waits.len(), pairs as u64);
    let at = |quantile| Duration::from_micros(waits.value_at_quantile(quantile));
    let seen = format!("{pairs} pairs in {took:.1?}: median {:?}, 99% {:?}, longest {:?}", at(0.5), at(0.99), at(1.0));
    eprintln!("{seen}");
    assert!(at(0.5) < median && at(1.0) < longest, "{seen}");
}

async fn run(connection: &mut PgConnection, statements: &'static str) {
    sqlx::raw_sql(statements).execute(connection).await.unwrap();
}

#[tokio::test]
async fn what_was_written_is_read_by_sixteen_at_a_time() {
    let (_alone, tandem) = alone().await;
    proven(tandem, (16, PLAIN), None, std::future::pending(), bounds(250, 5)).await;
}

#[tokio::test]
async fn what_was_written_is_read_while_each_row_is_applied_slowly() {
    let (_alone, tandem) = alone().await;
    let mut replica = tandem.replica().await;
    let slow = "
        create function sales.dawdle() returns trigger language plpgsql set search_path = pg_catalog
            as 'begin perform pg_sleep(0.004); return new; end';
        create trigger dawdle before insert or update on sales.sales_transaction
            for each row execute function sales.dawdle();
        alter table sales.sales_transaction enable always trigger dawdle;
    ";
    run(&mut replica, slow).await;
    proven(tandem, (8, SLOW_APPLY), None, std::future::pending(), bounds(1_000, 10)).await;
    run(&mut replica, "drop trigger dawdle on sales.sales_transaction; drop function sales.dawdle();").await;
}

/// A process that is held; dropped, it goes on.
struct Held(Pid);

impl Held {
    fn hold(process: Pid) -> Self {
        signal(process, Signal::STOP).unwrap();
        Self(process)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT).unwrap();
    }
}

/// Holds the apply worker for 120 ms of every 200.
async fn halt_now_and_then(replica: &mut PgConnection) {
    let worker = "select pid from pg_stat_subscription where relid is null and pid is not null";
    let worker = sqlx::query_scalar::<_, i32>(worker).fetch_one(replica).await.unwrap();
    let worker = Pid::from_raw(worker).unwrap();
    loop {
        let held = Held::hold(worker);
        sleep(Duration::from_millis(120)).await;
        drop(held);
        sleep(Duration::from_millis(80)).await;
    }
}

#[tokio::test]
async fn what_was_written_is_read_while_apply_halts_now_and_then() {
    let (_alone, tandem) = alone().await;
    let mut replica = tandem.replica().await;
    let halting = halt_now_and_then(&mut replica);
    proven(tandem, (8, HALTING_APPLY), None, halting, bounds(1_000, 10)).await;
}

#[tokio::test]
async fn what_was_written_is_read_while_commits_of_apply_become_visible_late() {
    let (_alone, tandem) = alone().await;
    let mut replica = tandem.replica().await;
    // A commit's record is written, the worker's progress with it, and 20 ms later its rows can be seen.
    for late in [
        "alter system set fsync = on",
        "alter system set commit_delay = 20000",
        "alter system set commit_siblings = 0",
        "alter subscription tandem_subscription set (synchronous_commit = on)",
        "select pg_reload_conf()",
    ] {
        run(&mut replica, late).await;
    }
    let set = "select current_setting('commit_delay') = '20000' and current_setting('fsync') = 'on'";
    until(&mut replica, "the settings are read", set).await;
    proven(tandem, (8, LATE_VISIBILITY), None, std::future::pending(), bounds(1_000, 10)).await;
    for as_before in [
        "alter system reset fsync",
        "alter system reset commit_delay",
        "alter system reset commit_siblings",
        "alter subscription tandem_subscription set (synchronous_commit = off)",
        "select pg_reload_conf()",
    ] {
        run(&mut replica, as_before).await;
    }
}

/// Writes what is not published: rows of another table, and messages of both kinds.
async fn write_other_wal(primary: &mut PgConnection) {
    let noise = "
        insert into public.noise select repeat('x', 1000) from generate_series(1, 20);
        select pg_logical_emit_message(true, 'noise', repeat('x', 5000));
        select pg_logical_emit_message(false, 'noise', repeat('x', 5000));
    ";
    let mut pace = interval(Duration::from_millis(2));
    loop {
        pace.tick().await;
        run(primary, noise).await;
    }
}

#[tokio::test]
async fn what_was_written_is_read_beside_other_wal() {
    let (_alone, tandem) = alone().await;
    let mut primary = tandem.primary().await;
    run(&mut primary, "create table public.noise (text text)").await;
    let other = write_other_wal(&mut primary);
    proven(tandem, (8, OTHER_WAL), None, other, bounds(500, 10)).await;
    run(&mut tandem.primary().await, "drop table public.noise").await;
}

#[tokio::test]
async fn what_was_written_is_read_of_two_services_by_turns() {
    let (_alone, tandem) = alone().await;
    let another = Program::start(&tandem.pair, Service::Query, &[]).await.unwrap();
    proven(tandem, (8, TWO_SERVICES), Some(another.grpc), std::future::pending(), bounds(500, 5)).await;
}
