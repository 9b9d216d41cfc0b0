//! Streams that are cut and resumed, under load.

use std::time::Duration;

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use sqlx::{Connection as _, PgConnection};
use tandem_proto::sales::query::v1::{
    TransactionFilter, sales_query_service_client::SalesQueryServiceClient, watch_transactions_response::Message,
};
use tandem_tests::{
    Tandem, channel, health,
    program::Program,
    request::{listed_in_store, reason},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, transport::Channel};
use tonic_health::pb::health_check_response::ServingStatus::Serving;
use xtask::{
    postgres::{DATABASE, Login, TestOptions, TestPair},
    service::Service,
};

use super::{
    load::{Load, pick},
    stream::{Known, Mirror, Stream},
};

/// Far more than a watcher needs to hear of the last change.
const PATIENCE: Duration = Duration::from_secs(30);
const LOAD: Duration = Duration::from_secs(8);

/// What a watcher has come to know, and how often its stream was cut.
#[derive(Clone, Default)]
struct Seen {
    mirror: Mirror,
    changes: usize,
    cuts: usize,
}

/// Watches for ever; cuts its own stream after some messages, if it is to, and resumes it, often a while later.
async fn watch(
    client: SalesQueryServiceClient<Channel>,
    filter: Option<TransactionFilter>,
    cut: bool,
    seed: u64,
    seen: watch::Sender<Seen>,
) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut stream = Stream::open(client.clone(), filter.clone(), "").await.unwrap();
    seen.send_modify(|_| {});
    let mut left = 1 + pick(&mut random, 40);
    loop {
        // A cut may also come while nothing does.
        let next = timeout(Duration::from_millis(if cut { pick(&mut random, 700) } else { 60_000 }), stream.message());
        if let Ok(message) = next.await {
            if let Message::Change(change) = message.unwrap() {
                let kind = change.kind();
                seen.send_modify(|seen| {
                    seen.mirror.take(kind, change.transaction.unwrap());
                    seen.changes += 1;
                });
            }
            left = left.saturating_sub(1);
        } else {
            left = 0;
        }
        if cut && left == 0 {
            let token = stream.token.clone();
            drop(stream);
            sleep(Duration::from_millis(pick(&mut random, 400))).await;
            stream = Stream::open(client.clone(), filter.clone(), &token).await.unwrap();
            seen.send_modify(|seen| seen.cuts += 1);
            left = 1 + pick(&mut random, 40);
        }
    }
}

/// Waits until the watcher knows exactly these.
async fn until_known(seen: &mut watch::Receiver<Seen>, wanted: &Mirror) {
    let known = timeout(PATIENCE, seen.wait_for(|seen| seen.mirror == *wanted)).await.map(drop);
    if known.is_err() {
        let mirror = seen.borrow().mirror.clone();
        let differ = |(id, sale): &(&String, &Known)| mirror.0.get(*id) != Some(*sale);
        let missing: Vec<_> = wanted.0.iter().filter(differ).collect();
        let spare: Vec<_> = mirror.0.keys().filter(|id| !wanted.0.contains_key(*id)).collect();
        panic!("{} sales, missing or different {missing:?}, too many {spare:?}", wanted.0.len());
    }
}

async fn rested(pair: &TestPair) -> Mirror {
    let mut primary = pair.primary().connect(DATABASE).await.unwrap();
    let mut replica = pair.replica().connect(DATABASE).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (there, here) = (Mirror::of(&mut primary).await, Mirror::of(&mut replica).await);
        if there == here {
            return here;
        }
        assert!(Instant::now() < deadline, "the replica does not catch up");
        sleep(Duration::from_millis(20)).await;
    }
}

fn of_store(mirror: &Mirror, store_id: i32) -> Mirror {
    Mirror(
        mirror
            .0
            .iter()
            .filter(|(_, known)| known.0 == store_id)
            .map(|(id, known)| (id.clone(), known.clone()))
            .collect(),
    )
}

async fn connections(pair: &TestPair, login: Login) -> Vec<PgConnection> {
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(PgConnection::connect(&pair.url(login)).await.unwrap());
    }
    connections
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_and_resumed_under_load_tells_no_change_twice_and_leaves_none_out() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let mut watchers = JoinSet::new();
    let mut all_seen = Vec::new();
    for number in 0..8 {
        let (sender, receiver) = watch::channel(Seen::default());
        let store = (number % 4 == 3).then_some(2);
        let filter = store.and_then(listed_in_store);
        watchers.spawn(watch(tandem.queries(), filter, number > 0, number, sender));
        all_seen.push((store, receiver));
    }
    for (_, seen) in &mut all_seen {
        timeout(PATIENCE, seen.changed()).await.unwrap().unwrap();
    }
    // Apply is one writer with short transactions. Beside it, what holds for many and long ones.
    for (login, seed) in [(Login::PrimaryAdmin, 1), (Login::ReplicaAdmin, 100)] {
        let load = Load::start(connections(&tandem.pair, login).await, seed);
        sleep(LOAD).await;
        load.stop().await;
        let rested = match login {
            Login::PrimaryAdmin => rested(&tandem.pair).await,
            _ => Mirror::of(&mut tandem.replica().await).await,
        };
        for (store, seen) in &mut all_seen {
            let wanted = store.map_or_else(|| rested.clone(), |store| of_store(&rested, store));
            until_known(seen, &wanted).await;
        }
    }
    let cuts: usize = all_seen.iter().map(|(_, seen)| seen.borrow().cuts).sum();
    let changes = all_seen[0].1.borrow().changes;
    println!("{changes} changes, {cuts} cuts");
    assert!(changes > 300 && cuts > 50, "{changes} changes, {cuts} cuts");
    assert!(watchers.try_join_next().is_none(), "a watcher has failed");
}

async fn query_program(pair: &TestPair, further: &[(&str, &str)]) -> Program {
    let program = Program::start(pair, Service::Query, further).await.unwrap();
    health::until(program.grpc, "", Serving, PATIENCE).await;
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_can_be_resumed_after_the_service_was_killed() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let mut mirror = Mirror::default();
    let mut program = query_program(&pair, &[]).await;
    let mut stream = Stream::open(SalesQueryServiceClient::new(channel(program.grpc)), None, "").await.unwrap();
    let load = Load::start(connections(&pair, Login::PrimaryAdmin).await, 1);
    for _ in 0..3 {
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            let (kind, sale) = stream.change().await.unwrap();
            mirror.take(kind, sale);
        }
        program.kill().await.unwrap();
        sleep(Duration::from_millis(500)).await;
        program = query_program(&pair, &[]).await;
        let client = SalesQueryServiceClient::new(channel(program.grpc));
        stream = Stream::open(client, None, &stream.token).await.unwrap();
    }
    load.stop().await;
    let rested = rested(&pair).await;
    while mirror != rested {
        let (kind, sale) = stream.change().await.unwrap();
        mirror.take(kind, sale);
    }
    assert!(rested.0.len() > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_past_its_retention_is_refused_and_one_within_is_not() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let program = query_program(&pair, &[("TANDEM_WATCH_RETENTION", "1s")]).await;
    let client = || SalesQueryServiceClient::new(channel(program.grpc));
    let old = Stream::open(client(), None, "").await.unwrap().token;
    Load::start(connections(&pair, Login::PrimaryAdmin).await, 1).run_for(Duration::from_secs(1)).await;
    // Past rows are purged every ten seconds.
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match Stream::open(client(), None, &old).await {
            Err(status) => break status,
            Ok(_) => assert!(Instant::now() < deadline, "the token does not expire"),
        }
        sleep(Duration::from_millis(200)).await;
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "WATCH_TOKEN_EXPIRED"), "{status:?}");
    let new = Stream::open(client(), None, "").await.unwrap().token;
    Stream::open(client(), None, &new).await.unwrap();
}
