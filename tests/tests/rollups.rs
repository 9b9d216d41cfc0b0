//! Figures from rollups equal the same figures from the sales themselves, in the same snapshot, whatever happens meanwhile.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use sqlx::{Connection as _, PgConnection};
use tandem_convergence::Options;
use tandem_query::{
    domain::{Dimension, Figures, FiguresQuestion, Grain, Group, SalesFilter, Segment},
    store::{
        figures,
        fold::{self, Horizon, Step},
    },
};
use tandem_tests::program::{run_to_end, subcommand};
use tokio::{task::JoinSet, time::sleep};
use xtask::{
    postgres::{DATABASE, Login, TestOptions, TestPair},
    service::Service,
};

/// Days that the sales lie in.
const DAYS: i64 = 6;
const STORES: u64 = 4;

/// What writers do on the primary, one transaction each. `$1` picks; the tables are small, so that all touch the same sales.
const WRITES: [&str; 10] = [
    "with header as (
        insert into sales.sales_transaction
        select gen_random_uuid(), '2026-01-01Z'::timestamptz + random() * interval '6 days', 1 + ($1 % 3), 1 + ($1 % 4),
            (array['cash', 'card', 'qris'])[1 + ($1 % 3)], ($1 % 500) * 0.01, ($1 % 7), null, now(), now(), 1
        from generate_series(0, $1 % 3)
        returning transaction_id
    )
    insert into sales.sales_item
    select gen_random_uuid(), transaction_id, 'P-' || (($1 + number) % 5), 'Product',
        (array['Food', 'Drinks', null])[1 + (($1 + number) % 3)], 1 + number, 2.50, 0, (1 + number) * 2.50
    from header cross join generate_series(0, $1 % 4) as number",
    "update sales.sales_transaction
    set transaction_time = '2026-01-01Z'::timestamptz + random() * interval '6 days'
    where transaction_id in (select transaction_id from sales.sales_transaction order by random() limit 1 + $1 % 3)",
    "update sales.sales_transaction set store_id = 1 + ($1 % 4), cashier_id = 1 + ($1 % 2)
    where transaction_id in (select transaction_id from sales.sales_transaction order by random() limit 2)",
    "update sales.sales_transaction
    set payment_method = (array['cash', 'card'])[1 + ($1 % 2)], total_amount = total_amount + 1
    where transaction_id in (select transaction_id from sales.sales_transaction order by random() limit 2)",
    "update sales.sales_item set quantity = quantity + 1, total_price = (quantity + 1) * unit_price - discount
    where item_id in (select item_id from sales.sales_item order by random() limit 2)",
    "update sales.sales_item
    set product_code = 'P-' || ($1 % 5), category = (array['Food', 'Drinks', null])[1 + ($1 % 3)]
    where item_id in (select item_id from sales.sales_item order by random() limit 2)",
    "update sales.sales_item
    set transaction_id = (select transaction_id from sales.sales_transaction order by random() limit 1)
    where item_id in (select item_id from sales.sales_item order by random() limit 1 + $1 % 2)",
    "insert into sales.sales_item
    select gen_random_uuid(), transaction_id, 'P-' || ($1 % 5), 'Product', 'Late', 3, 1.10, 0.30, 3.00
    from sales.sales_transaction order by random() limit 1",
    "delete from sales.sales_item
    where item_id in (select item_id from sales.sales_item order by random() limit 1 + $1 % 2)",
    "delete from sales.sales_transaction
    where transaction_id in (select transaction_id from sales.sales_transaction order by random() limit 1)",
];

/// How often what was looked at had a certain state, so that the test can tell that it has seen all of them.
#[derive(Default)]
struct Seen {
    comparisons: AtomicUsize,
    with_changes: AtomicUsize,
    in_sweeps: AtomicUsize,
    folded: AtomicUsize,
    interrupted: AtomicUsize,
}

/// Where writers write.
#[derive(Clone, Copy)]
enum Side {
    Primary,
    Replica,
}

struct Test {
    pair: TestPair,
    stop: AtomicBool,
    seen: Seen,
}

impl Test {
    async fn query_role(&self) -> PgConnection {
        PgConnection::connect(&self.pair.url(Login::Query)).await.unwrap()
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn pick(random: &mut ChaCha8Rng, below: u64) -> u64 {
    random.next_u64() % below
}

/// Writes transactions of one to three statements, with pauses in between; some are rolled back.
async fn write(test: Arc<Test>, side: Side, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let server = match side {
        Side::Primary => test.pair.primary(),
        Side::Replica => test.pair.replica(),
    };
    let mut database = server.connect(DATABASE).await.unwrap();
    while test.goes_on() {
        let mut transaction = database.begin().await.unwrap();
        let mut sound = true;
        for _ in 0..1 + pick(&mut random, 3) {
            let statement = WRITES[usize::try_from(pick(&mut random, WRITES.len() as u64)).unwrap()];
            let number = i32::try_from(pick(&mut random, 1000)).unwrap();
            // Two writers that wait for each other, or an item whose sale has just gone: as in life.
            sound = sqlx::query(statement).bind(number).execute(&mut *transaction).await.is_ok();
            if !sound {
                break;
            }
            sleep(Duration::from_millis(pick(&mut random, 8))).await;
        }
        if sound && pick(&mut random, 5) > 0 {
            let _refused = transaction.commit().await;
        } else {
            transaction.rollback().await.unwrap();
        }
        sleep(Duration::from_millis(pick(&mut random, 4))).await;
    }
}

/// Folds a few sales at a time; now and then a step is cut off at some moment, and its connection with it.
async fn fold_in_bits(test: Arc<Test>, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    while test.goes_on() {
        let mut connection = test.query_role().await;
        sqlx::query("set default_transaction_read_only = off").execute(&mut connection).await.unwrap();
        for _ in 0..pick(&mut random, 20) {
            let most = 1 + i64::try_from(pick(&mut random, 12)).unwrap();
            let limit = match pick(&mut random, 6) {
                0 => Duration::from_micros(pick(&mut random, 6000)),
                _ => Duration::from_secs(20),
            };
            let generation = fold::current_generation(&mut connection).await.unwrap();
            match tokio::time::timeout(limit, fold::step(&mut connection, generation, most)).await {
                Ok(Ok(Step::Folded { .. })) => test.seen.folded.fetch_add(1, Ordering::Relaxed),
                // Another fold was quicker: the snapshot is too old to move what it has moved.
                Ok(Ok(Step::Nothing) | Err(_)) => 0,
                Err(_) => {
                    test.seen.interrupted.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            };
            sleep(Duration::from_millis(pick(&mut random, 15))).await;
        }
    }
}

fn question(random: &mut ChaCha8Rng) -> FiguresQuestion {
    let dimensions = [
        Dimension::All,
        Dimension::Store,
        Dimension::Cashier,
        Dimension::PaymentMethod,
        Dimension::Category,
        Dimension::Product,
    ];
    let dimension = dimensions[usize::try_from(pick(random, 6)).unwrap()];
    let mut filter = SalesFilter::default();
    match pick(random, 6) {
        0 => filter.store_ids = vec![1, 2 + i32::try_from(pick(random, STORES)).unwrap()],
        1 => filter.payment_methods = vec!["cash".to_owned()],
        2 => filter.categories = vec!["Food".to_owned()],
        3 => filter.categories = vec!["Food".to_owned(), "Late".to_owned()],
        _ => {}
    }
    let hour = |hours: i64| Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap() + TimeDelta::hours(hours);
    let from = i64::try_from(pick(random, 30)).unwrap();
    let until = 24 * DAYS - i64::try_from(pick(random, 30)).unwrap();
    let segment = |step, grain, start: DateTime<Utc>, end| Segment { step, grain, start, end };
    let part = TimeDelta::minutes(i64::try_from(pick(random, 60)).unwrap());
    // Each bucket by itself, sums of several buckets, and the sum of all.
    let segments = match pick(random, 4) {
        0 => (0..i32::try_from(DAYS).unwrap())
            .map(|day| segment(day, Grain::Day, hour(24 * i64::from(day)), hour(24 * i64::from(day + 1))))
            .collect(),
        1 => vec![segment(0, Grain::Day, hour(0), hour(24 * DAYS))],
        _ => vec![
            segment(0, Grain::Hour, hour(from), hour(48)),
            segment(0, Grain::Day, hour(48), hour(96)),
            segment(1, Grain::Hour, hour(96), hour(until)),
            segment(1, Grain::Sale, hour(until), hour(until + 1) + part),
        ],
    };
    FiguresQuestion { segments, dimension, filter }
}

async fn ordered(connection: &mut PgConnection, question: &FiguresQuestion) -> BTreeMap<(i32, Group), Figures> {
    let cells = figures::of(connection, question).await.unwrap();
    cells.into_iter().map(|cell| ((cell.step, cell.group), cell.figures)).collect()
}

/// Compares in one snapshot, again and again.
async fn compare(test: Arc<Test>, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut connection = test.query_role().await;
    while test.goes_on() {
        let asked = question(&mut random);
        let mut from_sales = asked.clone();
        from_sales.segments.iter_mut().for_each(|segment| segment.grain = Grain::Sale);
        let mut snapshot = connection.begin_with("begin isolation level repeatable read, read only").await.unwrap();
        let by_rollups = ordered(&mut snapshot, &asked).await;
        let by_sales = ordered(&mut snapshot, &from_sales).await;
        let horizon = Horizon::current(&mut snapshot).await.unwrap();
        if let Some(horizon) = horizon {
            let changed = horizon.changed(&mut snapshot, 10_000).await.unwrap();
            test.seen
                .with_changes
                .fetch_add(usize::from(changed.is_some_and(|sales| !sales.is_empty())), Ordering::Relaxed);
            test.seen.in_sweeps.fetch_add(usize::from(horizon.sweep_id.is_some()), Ordering::Relaxed);
        }
        assert_eq!(by_rollups, by_sales, "{asked:?} at {horizon:?}");
        snapshot.rollback().await.unwrap();
        test.seen.comparisons.fetch_add(1, Ordering::Relaxed);
    }
}

/// Some time of everything at once.
async fn run(test: &Arc<Test>, side: Side, time: Duration, seed: u64) {
    let mut tasks = JoinSet::new();
    for number in 0..3 {
        tasks.spawn(write(Arc::clone(test), side, seed + number));
        tasks.spawn(compare(Arc::clone(test), seed + 10 + number));
    }
    tasks.spawn(fold_in_bits(Arc::clone(test), seed + 20));
    tasks.spawn(fold_in_bits(Arc::clone(test), seed + 21));
    sleep(time).await;
    test.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    test.stop.store(false, Ordering::Relaxed);
}

/// Takes the tables out of the subscription, empties them, and lets them be copied again.
async fn copy_anew(test: &Test) {
    let mut primary = test.pair.primary().connect(DATABASE).await.unwrap();
    let mut replica = test.pair.replica().connect(DATABASE).await.unwrap();
    sqlx::query("create publication nothing").execute(&mut primary).await.unwrap();
    for statement in [
        "alter subscription tandem_subscription set publication nothing",
        "truncate sales.sales_transaction, sales.sales_item, tandem.batch_control, tandem.watermark",
        "alter subscription tandem_subscription set publication tandem_publication",
    ] {
        sleep(Duration::from_millis(300)).await;
        sqlx::query(statement).execute(&mut replica).await.unwrap();
    }
}

/// At rest, both sides are equal, and the rollups hold what the sales add up to, by the verifier's own account.
async fn end_equal(test: &Test) {
    let mut connection = test.query_role().await;
    sqlx::query("set default_transaction_read_only = off").execute(&mut connection).await.unwrap();
    let (primary, replica) = (test.pair.primary().admin_url(), test.pair.replica().admin_url());
    let before = tandem_convergence::check(&primary, &replica, &Options::default()).await.unwrap();
    assert!(before.equal, "{before}");
    while fold::step(&mut connection, 1, 7).await.unwrap() != Step::Nothing {}
    let after = tandem_convergence::check(&primary, &replica, &Options::default()).await.unwrap();
    assert!(after.equal && after.rollups.as_ref().unwrap().compared > 100, "{after}");
    sqlx::query("update tandem.rollup set revenue = revenue + 0.01 where dimension = 'store' and grain = 'day'")
        .execute(&mut connection)
        .await
        .unwrap();
    let spoilt = tandem_convergence::check(&primary, &replica, &Options::default()).await.unwrap();
    assert!(!spoilt.equal && spoilt.rollups.as_ref().unwrap().different > 0, "{spoilt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_from_rollups_equal_those_from_sales_in_every_snapshot() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let test = Arc::new(Test { pair, stop: AtomicBool::default(), seen: Seen::default() });
    run(&test, Side::Primary, Duration::from_secs(5), 1).await;
    // Apply is one writer, whose transactions are short. What holds for many and long ones is seen with writers beside it.
    run(&test, Side::Replica, Duration::from_secs(5), 50).await;
    // All gone at once, and begun anew.
    let mut primary = test.pair.primary().connect(DATABASE).await.unwrap();
    sqlx::query("truncate sales.sales_transaction cascade").execute(&mut primary).await.unwrap();
    run(&test, Side::Primary, Duration::from_secs(3), 100).await;
    sqlx::query("truncate sales.sales_item").execute(&mut primary).await.unwrap();
    run(&test, Side::Primary, Duration::from_secs(2), 200).await;

    // Copied anew, table by table, while everything goes on.
    tokio::join!(run(&test, Side::Primary, Duration::from_secs(4), 300), copy_anew(&test));
    end_equal(&test).await;

    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let seen = &test.seen;
    println!(
        "{} comparisons, {} with changes, {} in sweeps; {} steps, {} interrupted",
        count(&seen.comparisons),
        count(&seen.with_changes),
        count(&seen.in_sweeps),
        count(&seen.folded),
        count(&seen.interrupted),
    );
    assert!(count(&seen.comparisons) > 200);
    assert!(count(&seen.with_changes) > 50);
    assert!(count(&seen.in_sweeps) > 20);
    assert!(count(&seen.folded) > 50);
    assert!(count(&seen.interrupted) > 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_sales_are_counted_once_and_rollups_of_another_cluster_are_not_read_until_they_are_rebuilt() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let mut replica = pair.replica().connect(DATABASE).await.unwrap();
    let mut query = PgConnection::connect(&pair.url(Login::Query)).await.unwrap();
    for number in 0..30 {
        sqlx::query(WRITES[0]).bind(number).execute(&mut replica).await.unwrap();
    }
    sqlx::query("set default_transaction_read_only = off").execute(&mut query).await.unwrap();
    while fold::step(&mut query, 1, 100).await.unwrap() != Step::Nothing {}
    let asked = question(&mut ChaCha8Rng::seed_from_u64(3));
    assert!(Horizon::current(&mut query).await.unwrap().is_some());

    // What is counted are sales: two whose items have all changed, and one with a new item.
    let touch = "
        with few as (
            select transaction_id from sales.sales_item group by transaction_id order by count(*) desc, transaction_id limit 3
        ),
        changed as (
            update sales.sales_item set discount = discount
            where transaction_id in (select transaction_id from few order by transaction_id limit 2)
        )
        insert into sales.sales_item
        select gen_random_uuid(), max(transaction_id::text)::uuid, 'P-9', 'Late', null, 1, 0, 0, 0 from few";
    sqlx::query(touch).execute(&mut replica).await.unwrap();
    let horizon = Horizon::current(&mut query).await.unwrap().unwrap();
    assert_eq!(horizon.changed(&mut query, 2).await.unwrap(), None);
    assert_eq!(horizon.changed(&mut query, 3).await.unwrap().map(|sales| sales.len()), Some(3));
    let expected_then = ordered(&mut query, &asked).await;
    while fold::step(&mut query, 1, 100).await.unwrap() != Step::Nothing {}
    assert_eq!(ordered(&mut query, &asked).await, expected_then);
    let expected = expected_then;

    // As after a dump was restored: another cluster, whose ids begin below those of the rows.
    sqlx::query("update tandem.fold set system_identifier = 1, folded_xid = folded_xid + 1000000")
        .execute(&mut replica)
        .await
        .unwrap();
    assert_eq!(Horizon::current(&mut query).await.unwrap(), None);
    assert_eq!(ordered(&mut query, &asked).await, expected);

    let rebuilt = run_to_end(subcommand(&pair, Service::Query, "rebuild-rollups").await.unwrap()).await.unwrap();
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    assert!(Horizon::current(&mut query).await.unwrap().is_some_and(|horizon| horizon.folded_xid > 0));
    assert_eq!(ordered(&mut query, &asked).await, expected);
    let left: i64 =
        sqlx::query_scalar("select count(distinct generation) from tandem.rollup").fetch_one(&mut query).await.unwrap();
    assert_eq!(left, 1, "rollups of replaced generations are gone");
}
