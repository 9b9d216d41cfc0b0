//! Two hundred faults, planted by chance on the replica of a pair that is written all the time: every one is found, and
//! none is invented. Then they are mended, and nothing is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sqlx::{AssertSqlSafe, PgConnection};
use tandem_convergence::{CheckError, Flags, Kind, Options, Report, check, verify};
use tandem_query::store::fold::{self, Step};
use uuid::Uuid;
use xtask::postgres::{DATABASE, TestOptions, TestPair};

use crate::run;

/// Sales with three items each. Writers keep to those with even numbers, faults to the others: a row that is written is
/// mended by that.
const SALES: u32 = 8_000;

/// Writes a second, in all.
const WRITES_A_SECOND: u32 = 1_000;

const FAULTS: usize = 200;

const SALE: &str = "sales.sales_transaction";
const ITEM: &str = "sales.sales_item";

/// Ids whose order is that of their numbers, as those of the command service are.
fn sale(number: u32) -> Uuid {
    Uuid::from_u128((u128::from(number) << 80) | 0x7000_8000_0000_0000_0000)
}

/// Ids in no order at all; an even last byte leaves room for a neighbour.
fn item(number: u32, line: u32) -> Uuid {
    let mixed = u128::from(number * 4 + line).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    Uuid::from_u128(mixed & !1)
}

/// A statement for sales with the ids `$1`: each with three items, whose ids are in `$2`.
const INSERT: &str = "
    with sale as (
        insert into sales.sales_transaction (
            transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            customer_id, created_at, updated_at, version
        )
        select id, now() - number * interval '1 minute', 1 + number % 10, 1 + number % 5, 'cash', 6.00 + number % 7, 0,
            nullif(number % 9, 0), now(), now(), 1
        from unnest($1::uuid[]) with ordinality as new (id, number)
        returning transaction_id
    )
    insert into sales.sales_item (
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
    )
    select item.id, sale.transaction_id, 'P' || line, 'Product ' || line, case when line = 2 then 'Food' end, line, 2.00, 0,
        line * 2.00
    from unnest($1::uuid[]) with ordinality as new (id, number)
    join sale on sale.transaction_id = new.id
    cross join generate_series(1, 3) as line
    join unnest($2::uuid[]) with ordinality as item (id, place) on item.place = (new.number - 1) * 3 + line";

async fn insert(connection: &mut PgConnection, numbers: &[u32]) {
    let sales: Vec<Uuid> = numbers.iter().map(|number| sale(*number)).collect();
    let items: Vec<Uuid> = numbers.iter().flat_map(|number| (1..=3).map(|line| item(*number, line))).collect();
    sqlx::query(INSERT).bind(sales).bind(items).execute(connection).await.unwrap();
}

/// Inserts, changes and deletes sales with even numbers until it is told to stop.
async fn write(mut connection: PgConnection, written: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut tick = tokio::time::interval(PAUSE);
    let mut next = SALES + 2;
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        for _ in 0..WRITES_A_SECOND / 100 {
            let id = sale(random.random_range(1..SALES / 2) * 2);
            match random.random_range(0..10) {
                0..4 => {
                    insert(&mut connection, &[next]).await;
                    next += 2;
                }
                4..9 => {
                    let update = "update sales.sales_transaction set version = version + 1 where transaction_id = $1";
                    sqlx::query(update).bind(id).execute(&mut connection).await.unwrap();
                }
                _ => {
                    let delete = "delete from sales.sales_transaction where transaction_id = $1";
                    sqlx::query(delete).bind(id).execute(&mut connection).await.unwrap();
                }
            }
            written.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a check has to name: by table and key, how, and in which columns.
type Expected = BTreeMap<(String, String), (Kind, Vec<String>)>;

/// Spoils rows of the replica.
struct Spoiler {
    replica: PgConnection,
    /// Sales that nobody has spoilt yet.
    fresh: Vec<u32>,
    expected: Expected,
    /// The sale that is being spoilt, and that of each fault.
    number: u32,
    sales: BTreeMap<(String, String), u32>,
}

impl Spoiler {
    fn expect(&mut self, table: &str, key: Uuid, kind: Kind, columns: &[&str]) {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        let row = (table.to_owned(), key.to_string());
        self.sales.insert(row.clone(), self.number);
        self.expected.insert(row, (kind, columns));
    }

    async fn spoil(&mut self, statement: &str) {
        let spoilt = sqlx::query(AssertSqlSafe(statement)).execute(&mut self.replica).await.unwrap();
        assert!(spoilt.rows_affected() > 0, "{statement}");
    }

    /// One fault of the kind that the number stands for.
    async fn plant(&mut self, kind: usize) {
        let number = self.fresh.pop().unwrap();
        self.number = number;
        let (sale_id, item_id) = (sale(number), item(number, 2));
        match kind % 9 {
            0 => {
                self.spoil(&format!("delete from {ITEM} where item_id = '{item_id}'")).await;
                self.expect(ITEM, item_id, Kind::Missing, &[]);
            }
            1 => {
                self.spoil(&format!("delete from {SALE} where transaction_id = '{sale_id}'")).await;
                self.expect(SALE, sale_id, Kind::Missing, &[]);
            }
            2 => {
                let extra = Uuid::from_u128(u128::MAX - u128::from(number));
                self.copy_item(item_id, extra).await;
            }
            3 => {
                self.spoil(&format!(
                    "update {SALE} set store_id = 77, payment_method = 'qris' where transaction_id = '{sale_id}'"
                ))
                .await;
                self.expect(SALE, sale_id, Kind::Different, &["payment_method", "store_id"]);
            }
            4 => {
                // Two rows that trade a value leave every sum over the column as it was.
                let other = item(number, 3);
                self.spoil(&format!(
                    "update {ITEM} set quantity = case quantity when 2 then 3 else 2 end where item_id in ('{item_id}', '{other}')"
                ))
                .await;
                self.expect(ITEM, item_id, Kind::Different, &["quantity"]);
                self.expect(ITEM, other, Kind::Different, &["quantity"]);
            }
            5 => {
                self.spoil(&format!("update {ITEM} set total_price = total_price + 0.01 where item_id = '{item_id}'"))
                    .await;
                self.expect(ITEM, item_id, Kind::Different, &["total_price"]);
            }
            6 => {
                let id = item(number, 1);
                self.spoil(&format!("update {ITEM} set category = '' where item_id = '{id}'")).await;
                self.expect(ITEM, id, Kind::Different, &["category"]);
            }
            7 => {
                self.spoil(&format!("update {ITEM} set category = null where item_id = '{item_id}'")).await;
                self.expect(ITEM, item_id, Kind::Different, &["category"]);
            }
            // A row again under the next key: wherever a range ends, some row and its double stand on both sides of it.
            _ => self.copy_item(item_id, Uuid::from_u128(item_id.as_u128() + 1)).await,
        }
    }

    async fn copy_item(&mut self, from: Uuid, to: Uuid) {
        self.spoil(&format!(
            "insert into {ITEM} (item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount,
                total_price)
            select '{to}', transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
            from {ITEM} where item_id = '{from}'"
        ))
        .await;
        self.expect(ITEM, to, Kind::Extra, &[]);
    }
}

fn found(report: &Report) -> Expected {
    let of_table = |table: &tandem_convergence::TableReport| {
        let name = table.table.clone();
        let described = table.differences.iter().cloned();
        described.map(move |one| ((name.clone(), one.key.to_string()), (one.kind, one.columns))).collect::<Vec<_>>()
    };
    report.tables.iter().flat_map(of_table).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_random_faults_under_load_are_found_each_and_none_is_invented() {
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let (primary_url, replica_url) = (pair.primary().admin_url(), pair.replica().admin_url());
    let mut primary = pair.primary().connect(DATABASE).await.unwrap();
    insert(&mut primary, &(1..=SALES).collect::<Vec<_>>()).await;
    run(&mut primary, "analyze").await;
    let (written, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let writer = tokio::spawn(write(primary, written.clone(), stop.clone()));
    let options = Options { range_size: 100, parallel: 2, rollups: false, ..Options::default() };
    let report = check(&primary_url, &replica_url, &options).await.unwrap();
    assert!(report.equal, "{report}");

    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut fresh: Vec<u32> = (0..SALES / 2).map(|number| number * 2 + 1).collect();
    fresh.shuffle(&mut random);
    let replica = pair.replica().connect(DATABASE).await.unwrap();
    let mut folder = pair.replica().connect(DATABASE).await.unwrap();
    fold_all(&mut folder).await;
    let mut spoiler = Spoiler { replica, fresh, expected: Expected::new(), number: 0, sales: BTreeMap::new() };
    for fault in 0..FAULTS {
        spoiler.plant(fault).await;
    }
    for _ in 0..3 {
        let (before, since) = (written.load(Ordering::Relaxed), Instant::now());
        let report = check(&primary_url, &replica_url, &options).await.unwrap();
        let writes = (written.load(Ordering::Relaxed) - before) as f64 / since.elapsed().as_secs_f64();
        exactly(&report, &spoiler.expected);
        // A busy machine writes less; a still one would prove nothing.
        assert!(writes > f64::from(WRITES_A_SECOND) / 4.0, "{writes} writes/s");
    }
    of_a_batch_alone(&pair, &spoiler, &options).await;

    let flags = Asked::parse_from(["verify", "--repair", "--yes"]).flags;
    let report = verify(&primary_url, &replica_url, &options, &flags, |_| ()).await.unwrap();
    assert!(report.equal, "{report}");
    assert_eq!(report.repair.unwrap().mended, spoiler.expected.len());
    let errors: i64 = sqlx::query_scalar("select apply_error_count from pg_stat_subscription_stats")
        .fetch_one(&mut spoiler.replica)
        .await
        .unwrap();
    assert_eq!(errors, 0, "the apply worker never stumbled");

    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    // What was folded before the faults and what was repaired since are the same sales.
    fold_all(&mut folder).await;
    let report = check(&primary_url, &replica_url, &Options::default()).await.unwrap();
    assert!(report.equal && report.rollups.as_ref().unwrap().compared > 0, "{report}");
}

#[derive(clap::Parser)]
struct Asked {
    #[command(flatten)]
    flags: Flags,
}

fn exactly(report: &Report, expected: &Expected) {
    let found = found(report);
    let unfound: Vec<_> = expected.iter().filter(|(key, how)| found.get(*key) != Some(how)).collect();
    let invented: Vec<_> = found.iter().filter(|(key, how)| expected.get(*key) != Some(how)).collect();
    assert!(unfound.is_empty() && invented.is_empty(), "unfound {unfound:?}\ninvented {invented:?}\n{report}");
}

async fn fold_all(replica: &mut PgConnection) {
    while fold::step(&mut *replica, 1, 10_000).await.unwrap() != Step::Nothing {}
}

/// A batch of some of the spoilt sales and some others: what is wrong with these is named, and nothing else.
async fn of_a_batch_alone(pair: &TestPair, spoiler: &Spoiler, options: &Options) {
    let mut primary = pair.primary().connect(DATABASE).await.unwrap();
    let spoilt = spoiler.sales.values().copied().collect::<BTreeSet<_>>().into_iter().take(50);
    let numbers: BTreeSet<u32> = spoilt.chain(spoiler.fresh.iter().copied().take(50)).collect();
    let ids: Vec<Uuid> = numbers.iter().map(|number| sale(*number)).collect();
    let options = Options { batch_id: Some("b-1".to_owned()), ..options.clone() };
    let (primary_url, replica_url) = (pair.primary().admin_url(), pair.replica().admin_url());
    let unknown = check(&primary_url, &replica_url, &options).await.unwrap_err();
    assert!(matches!(unknown, CheckError::UnknownBatch { .. }), "{unknown:?}");
    let part = "insert into tandem.batch_part (batch_id, part, transaction_ids) values ('b-1', 1, $1)";
    sqlx::query(part).bind(ids).execute(&mut primary).await.unwrap();
    let begun = "insert into tandem.batch_control (batch_id, schema_name, table_name, status, started_at)
        values ('b-1', 'sales', 'sales_transaction', 'IN_PROGRESS', now())";
    run(&mut primary, begun).await;
    let completing = async {
        tokio::task::yield_now().await;
        let completed = "update tandem.batch_control
            set status = 'COMPLETED', ended_at = now(), lsn = '0/1', system_identifier = 1, timeline = 1, row_count = 100";
        run(&mut primary, completed).await;
    };
    let (report, ()) = futures::join!(check(&primary_url, &replica_url, &options), completing);
    let report = report.unwrap();
    assert_eq!(report.tables.len(), 2, "{report}");
    let expected = spoiler.expected.iter().filter(|(row, _)| numbers.contains(&spoiler.sales[*row]));
    exactly(&report, &expected.map(|(row, how)| (row.clone(), how.clone())).collect());
}
