//! Figures whenever they change.

use std::time::Duration;

use tandem_proto::sales::{
    command::v1::DeleteTransactionRequest,
    query::v1::{GetSummaryRequest, WatchSummaryRequest, WatchSummaryResponse, watch_summary_request::Period},
};
use tandem_tests::{
    Tandem,
    request::{after, create, in_store, item, range, sale, sale_at, usd, wrong_fields},
};
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;

const PATIENCE: Duration = Duration::from_secs(30);

fn duration(milliseconds: u64) -> Option<prost_types::Duration> {
    Duration::from_millis(milliseconds).try_into().ok()
}

fn of_store(store_id: i32, milliseconds: u64) -> WatchSummaryRequest {
    WatchSummaryRequest {
        filter: in_store(store_id),
        min_interval: duration(milliseconds),
        ..WatchSummaryRequest::default()
    }
}

async fn watch(tandem: &Tandem, asked: WatchSummaryRequest) -> Streaming<WatchSummaryResponse> {
    tandem.queries().watch_summary(asked).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<WatchSummaryResponse>) -> WatchSummaryResponse {
    timeout(PATIENCE, stream.message()).await.expect("figures come").unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_told_at_once_and_whenever_they_change() {
    let tandem = Tandem::shared().await;
    let time = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 };
    let standing = Some(Period::Range(range(1_699_990_000, 1_700_010_000).unwrap()));
    for (store_id, period) in [(8201, standing), (8202, None), (8203, Some(Period::Last(duration(3_600_000).unwrap())))]
    {
        let mut stream = watch(tandem, WatchSummaryRequest { period, ..of_store(store_id, 100) }).await;
        let first = next(&mut stream).await;
        assert_eq!((first.transactions, first.revenue), (0, Some(usd("0.00"))));
        assert!(first.range.is_some() && first.as_of.is_some());

        let lines = vec![item("A", 3, "1.25")];
        let made = if store_id == 8201 { sale_at(time, store_id, lines) } else { sale(store_id, lines) };
        let made = tandem.commands().create_transaction(create(made)).await.unwrap().into_inner();
        let second = next(&mut stream).await;
        assert_eq!((second.transactions, second.items_sold, second.revenue), (1, 3, Some(usd("3.75"))));
        // Whoever brings the token of the figures to another query sees no less.
        let consistency = after(&second.read_state.unwrap().consistency_token);
        let query = GetSummaryRequest { range: second.range, filter: in_store(store_id), consistency };
        assert_eq!(tandem.queries().get_summary(query).await.unwrap().into_inner().transactions, 1);

        let transaction_id = made.transaction.unwrap().transaction_id;
        let gone = DeleteTransactionRequest { transaction_id, ..DeleteTransactionRequest::default() };
        tandem.commands().delete_transaction(gone).await.unwrap();
        assert_eq!(next(&mut stream).await.transactions, 0);
        // Nothing has changed: nothing is told.
        assert!(timeout(Duration::from_secs(1), stream.message()).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_told_no_more_often_than_asked() {
    let tandem = Tandem::shared().await;
    let mut often = watch(tandem, of_store(8204, 0)).await;
    let mut seldom = watch(tandem, of_store(8204, 1_500)).await;
    next(&mut often).await;
    next(&mut seldom).await;
    let began = Instant::now();
    let (mut in_often, mut in_seldom) = (0, 0);
    for _ in 0..60 {
        tandem.commands().create_transaction(create(sale(8204, vec![item("A", 1, "1.00")]))).await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }
    while next(&mut often).await.transactions < 60 {
        in_often += 1;
    }
    while next(&mut seldom).await.transactions < 60 {
        in_seldom += 1;
    }
    let most = |interval: u128| usize::try_from(began.elapsed().as_millis() / interval).unwrap() + 1;
    assert!((4..=most(100)).contains(&in_often), "{in_often} in {:?}", began.elapsed());
    assert!((1..=most(1_500)).contains(&in_seldom), "{in_seldom} in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_are_refused() {
    let tandem = Tandem::shared().await;
    let period = Some(Period::Last(duration(59_000).unwrap()));
    let min_interval = duration(3_600_001);
    let wrong = WatchSummaryRequest { period, min_interval, filter: in_store(0) };
    let status = tandem.queries().watch_summary(wrong).await.unwrap_err();
    let fields =
        ["filter.store_ids[0]", "last", "min_interval"].map(|field| (field.to_owned(), "OUT_OF_RANGE".to_owned()));
    assert_eq!(wrong_fields(&status), fields);
}
