//! Slow readers, and many.

use std::{collections::HashSet, time::Duration};

use sqlx::PgConnection;
use tandem_proto::sales::query::v1::{ChangeKind, WatchSummaryRequest};
use tandem_tests::{
    Tandem,
    request::{create, in_store, item, reason, sale},
};
use tokio::time::{sleep, timeout};
use tonic::{Code, transport::Endpoint};
use xtask::postgres::TestOptions;

use super::stream::Stream;

/// More than all queues hold: 64 pages of 200 sales, and what fits into a connection's window.
const FLOOD: i32 = 30_000;
const PATIENCE: Duration = Duration::from_secs(60);

async fn flood(primary: &mut PgConnection) {
    sqlx::query(
        "insert into sales.sales_transaction (
            transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            created_at, updated_at, version
        )
        select gen_random_uuid(), now(), 1, 7, 'cash', 1.00, 0, now(), now(), 1 from generate_series(1, $1)",
    )
    .bind(FLOOD)
    .execute(primary)
    .await
    .unwrap();
}

/// Takes created sales until there are so many; each once.
async fn take(stream: &mut Stream, told: &mut HashSet<String>) -> Result<(), tonic::Status> {
    while told.len() < usize::try_from(FLOOD).unwrap() {
        let (kind, sale) = stream.change().await?;
        assert_eq!(kind, ChangeKind::Created);
        assert!(told.insert(sale.transaction_id), "told twice");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_too_slow_is_ended_alone_and_resumes_where_it_was() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    // A window of its own, so that what waits for it does not hold up what waits for the other.
    let endpoint = Endpoint::from_shared(format!("http://{}", tandem.query_address())).unwrap();
    let narrow = endpoint.initial_stream_window_size(65_535).connect_lazy();
    let client = tandem_proto::sales::query::v1::sales_query_service_client::SalesQueryServiceClient::new(narrow);
    let mut slow = Stream::open(client.clone(), None, "").await.unwrap();
    let mut quick = Stream::open(tandem.queries(), None, "").await.unwrap();
    flood(&mut tandem.primary().await).await;
    let mut told = HashSet::new();
    timeout(PATIENCE, take(&mut quick, &mut told)).await.unwrap().unwrap();
    // Past the 10 seconds for which a message may wait.
    sleep(Duration::from_secs(11)).await;

    let mut told = HashSet::new();
    let status = timeout(PATIENCE, take(&mut slow, &mut told)).await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "WATCHER_TOO_SLOW"), "{status:?}");
    assert!(told.len() < usize::try_from(FLOOD).unwrap());
    let mut again = Stream::open(client, None, &slow.token).await.unwrap();
    timeout(PATIENCE, take(&mut again, &mut told)).await.unwrap().unwrap();
}

/// Database transactions on the replica in some seconds.
async fn transactions(replica: &mut PgConnection) -> i64 {
    const COUNT: &str = "select xact_commit from pg_stat_database where datname = current_database()";
    let mut counts = [0; 2];
    for count in &mut counts {
        // Sessions say what they did about every second.
        sleep(Duration::from_secs(4)).await;
        sqlx::query("select pg_stat_clear_snapshot()").execute(&mut *replica).await.unwrap();
        *count = sqlx::query_scalar(COUNT).fetch_one(&mut *replica).await.unwrap();
    }
    counts[1] - counts[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_watchers_ask_the_database_no_more_than_one() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let mut replica = tandem.replica().await;
    let asked = WatchSummaryRequest { filter: in_store(3), ..WatchSummaryRequest::default() };
    let mut streams = vec![Stream::open(tandem.queries(), None, "").await.unwrap()];
    let mut summaries = vec![tandem.queries().watch_summary(asked.clone()).await.unwrap().into_inner()];
    let of_one = transactions(&mut replica).await;
    for _ in 1..50 {
        streams.push(Stream::open(tandem.queries(), None, "").await.unwrap());
        summaries.push(tandem.queries().watch_summary(asked.clone()).await.unwrap().into_inner());
    }
    let of_fifty = transactions(&mut replica).await;
    println!("{of_one} transactions with one watcher, {of_fifty} with fifty");
    assert!(of_one > 20, "{of_one}: the watcher itself is not counted");
    assert!(of_fifty < of_one + of_one / 2, "{of_one} with one watcher, {of_fifty} with fifty");

    let made = create(sale(3, vec![item("A", 1, "2.00")]));
    tandem.commands().create_transaction(made).await.unwrap();
    for stream in &mut streams {
        assert_eq!(stream.change().await.unwrap().0, ChangeKind::Created);
    }
    for summary in &mut summaries {
        while summary.message().await.unwrap().unwrap().transactions == 0 {}
    }
    drop((streams, summaries));
    // Nobody watches, nobody reads.
    sleep(Duration::from_secs(1)).await;
    let of_none = transactions(&mut replica).await;
    assert!(of_none < of_one, "{of_none} with nobody, {of_one} with one watcher");
}

/// Takes all of a flood through streams that are cut after some hundreds of changes each.
async fn take_in_bits(tandem: &Tandem, token: &str) -> Stream {
    let (mut told, mut token) = (HashSet::new(), token.to_owned());
    loop {
        let mut stream = Stream::open(tandem.queries(), None, &token).await.unwrap();
        for _ in 0..700 {
            if told.len() == usize::try_from(FLOOD).unwrap() {
                return stream;
            }
            assert!(told.insert(stream.change().await.unwrap().1.transaction_id), "told twice");
        }
        token = stream.token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_come_in_the_midst_of_a_long_step_are_told_all_of_it_once() {
    let tandem = Tandem::start(TestOptions::default()).await.unwrap();
    let mut steady = Stream::open(tandem.queries(), None, "").await.unwrap();
    let token = steady.token.clone();
    flood(&mut tandem.primary().await).await;
    let mut told_steady = HashSet::from([steady.change().await.unwrap().1.transaction_id]);
    let mut late = Stream::open(tandem.queries(), None, &token).await.unwrap();
    let mut told_late = HashSet::new();
    let work = async {
        tokio::join!(
            take(&mut steady, &mut told_steady),
            take(&mut late, &mut told_late),
            take_in_bits(&tandem, &token)
        )
    };
    let (of_steady, of_late, mut in_bits) = timeout(PATIENCE, work).await.unwrap();
    of_steady.unwrap();
    of_late.unwrap();
    // Whatever comes next is the next change.
    let asked = create(sale(9, vec![item("A", 1, "1.00")]));
    let next = tandem.commands().create_transaction(asked).await.unwrap().into_inner().transaction.unwrap();
    for stream in [&mut steady, &mut late, &mut in_bits] {
        assert_eq!(stream.change().await.unwrap(), (ChangeKind::Created, next.clone()));
    }
}
