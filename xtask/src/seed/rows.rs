//! Sales as rows of binary COPY: headers and items in one pass over the generator, on a thread of their own.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sqlx::encode::IsNull;
use sqlx::postgres::{PgArgumentBuffer, PgConnection};
use sqlx::{Encode, Postgres};
use tokio::sync::mpsc;
use uuid::{Builder, Uuid};

use super::Plan;
use super::generator::{Line, Sale, Sales};
use super::progress::Share;

/// Both tables of a sale, headers first, as the foreign key and the replica's order of apply want it.
pub(super) const TABLES: [&str; 2] = ["sales.sales_transaction", "sales.sales_item"];

const COPY_TRANSACTIONS: &str = "
    copy sales.sales_transaction (transaction_id, transaction_time, cashier_id, store_id, payment_method,
        total_amount, total_discount, customer_id, created_at, updated_at, version)
    from stdin";

const COPY_ITEMS: &str = "
    copy sales.sales_item (item_id, transaction_id, product_code, product_name, category,
        quantity, unit_price, discount, total_price)
    from stdin";

const TRANSACTION_COLUMNS: i16 = 11;
const ITEM_COLUMNS: i16 = 9;

/// What the binary format begins with: a signature that shows damage on the way, no flags, no extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with: a row of minus one columns.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// The stream of random numbers that ids are drawn from, apart from the one that sales are made of:
/// otherwise the same seed would give other sales through the front door.
const ID_STREAM: u64 = 1;

/// Segments between the generator and whoever writes them: one under way keeps both busy, more is only memory.
const SEGMENTS_AHEAD: usize = 1;

/// Bytes of a header's row and of its items' rows, to begin with; buffers grow where it is too little.
const BYTES_A_SALE: (usize, usize) = (144, 420);

/// How rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storing {
    /// As COPY does by itself.
    Plain,
    /// Frozen: only into tables that were emptied in the same database transaction.
    Frozen,
}

/// What has psql read files of the same rows: for headers and items.
pub(crate) fn psql_commands(files: [&Path; 2]) -> [String; 2] {
    let of = |statement: &str, file: &Path| {
        let words: Vec<&str> = statement.split_whitespace().collect();
        let from = format!("from '{}'", file.display());
        format!("\\copy {} with (format binary)", words[1..].join(" ").replace("from stdin", &from))
    };
    [of(COPY_TRANSACTIONS, files[0]), of(COPY_ITEMS, files[1])]
}

/// Some sales as what COPY reads; each part a whole of its own.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Headers.
    pub(crate) transactions: Vec<u8>,
    /// Their items.
    pub(crate) items: Vec<u8>,
    /// The sales' ids.
    pub(super) ids: Vec<Uuid>,
    /// How many they are.
    pub(crate) share: Share,
}

impl Segment {
    /// Headers before items.
    pub(super) async fn copy(&self, connection: &mut PgConnection, storing: Storing) -> Result<(), sqlx::Error> {
        for (statement, rows) in [(COPY_TRANSACTIONS, &self.transactions), (COPY_ITEMS, &self.items)] {
            let options = match storing {
                Storing::Plain => "(format binary)",
                Storing::Frozen => "(format binary, freeze)",
            };
            let mut sink = connection.copy_in_raw(&format!("{statement} {options}")).await?;
            sink.send(rows.as_slice()).await?;
            sink.finish().await?;
        }
        Ok(())
    }
}

/// An iterator over segments. Ids follow from the plan's seed.
#[derive(Debug)]
pub(crate) struct Segments {
    sales: Sales,
    ids: ChaCha8Rng,
    size: usize,
}

impl Segments {
    /// The sales of a plan, so many a segment.
    pub(crate) fn of(plan: &Plan, size: usize) -> Segments {
        let mut ids = ChaCha8Rng::seed_from_u64(plan.rng_seed);
        ids.set_stream(ID_STREAM);
        Segments { sales: plan.sales(), ids, size: size.max(1) }
    }
}

impl Iterator for Segments {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        let mut rows = Rows::new(self.size.min(self.sales.size_hint().0), Utc::now());
        for sale in self.sales.by_ref().take(self.size) {
            rows.add(&sale, &mut self.ids);
        }
        (rows.share.sales > 0).then(|| rows.finish())
    }
}

/// Makes segments on a thread of its own and hands each to all of so many readers. It ends when one of them has
/// gone.
pub(super) fn make_for<const READERS: usize>(mut segments: Segments) -> [mpsc::Receiver<Arc<Segment>>; READERS] {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..READERS).map(|_| mpsc::channel(SEGMENTS_AHEAD)).unzip();
    tokio::task::spawn_blocking(move || {
        let all_read = |segment: &Arc<Segment>| senders.iter().all(|to| to.blocking_send(segment.clone()).is_ok());
        while let Some(segment) = segments.next().map(Arc::new) {
            if !all_read(&segment) {
                break;
            }
        }
    });
    receivers.try_into().expect("there is a channel for each reader")
}

/// Rows in the making.
struct Rows {
    transactions: Table,
    items: Table,
    ids: Vec<Uuid>,
    share: Share,
    now: DateTime<Utc>,
}

impl Rows {
    /// `now` is when the rows are stored; sales happened earlier.
    fn new(sales: usize, now: DateTime<Utc>) -> Rows {
        let (transactions, items) = BYTES_A_SALE;
        let table = |bytes: usize| Table::with_capacity(sales.saturating_mul(bytes));
        let ids = Vec::with_capacity(sales);
        Rows { transactions: table(transactions), items: table(items), ids, share: Share::default(), now }
    }

    fn add(&mut self, sale: &Sale, ids: &mut impl Rng) {
        let share = Share::from(sale);
        let transaction_id = id(sale.time, 0, ids);
        self.ids.push(transaction_id);
        let row = &mut self.transactions;
        row.begin(TRANSACTION_COLUMNS);
        row.put(transaction_id);
        row.put(sale.time);
        row.put(sale.cashier_id);
        row.put(sale.store_id);
        row.put(sale.payment_method);
        row.put(share.revenue);
        row.put(sale.total_discount());
        row.put(sale.customer_id);
        row.put(self.now);
        row.put(self.now);
        row.put(1_i64);
        for (position, line) in (1..).zip(&sale.lines) {
            self.add_item(transaction_id, id(sale.time, position, ids), line);
        }
        self.share.add(share);
    }

    fn add_item(&mut self, transaction_id: Uuid, item_id: Uuid, line: &Line) {
        let row = &mut self.items;
        row.begin(ITEM_COLUMNS);
        row.put(item_id);
        row.put(transaction_id);
        row.put(line.product.code);
        row.put(line.product.name);
        row.put(line.product.category);
        row.put(line.quantity);
        row.put(line.product.unit_price());
        row.put(line.discount);
        row.put(line.total_price());
    }

    fn finish(self) -> Segment {
        let (transactions, items) = (self.transactions.finish(), self.items.finish());
        Segment { transactions, items, ids: self.ids, share: self.share }
    }
}

/// One table in the binary format of COPY.
struct Table {
    rows: PgArgumentBuffer,
}

impl Table {
    fn with_capacity(bytes: usize) -> Table {
        let mut rows = PgArgumentBuffer::default();
        rows.reserve(bytes);
        rows.extend_from_slice(SIGNATURE);
        Table { rows }
    }

    fn begin(&mut self, columns: i16) {
        self.rows.extend_from_slice(&columns.to_be_bytes());
    }

    /// The value's length, then the value; a length of minus one is NULL.
    fn put<'value>(&mut self, value: impl Encode<'value, Postgres>) {
        let length_at = self.rows.len();
        self.rows.extend_from_slice(&(-1_i32).to_be_bytes());
        let null = value.encode(&mut self.rows).expect("numbers, times, ids and short texts can be encoded");
        if let IsNull::No = null {
            let begin = length_at + size_of::<i32>();
            let length = i32::try_from(self.rows.len() - begin).expect("no value of a sale is long");
            self.rows[length_at..begin].copy_from_slice(&length.to_be_bytes());
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.rows.extend_from_slice(&TRAILER);
        std::mem::take(&mut *self.rows)
    }
}

/// A UUIDv7 of the sale's time. The position stands right behind the time, so that the items of a sale, which
/// share it, stay in order.
fn id(time: DateTime<Utc>, position: u8, ids: &mut impl Rng) -> Uuid {
    let milliseconds = u64::try_from(time.timestamp_millis()).unwrap_or_default();
    let mut tail = [0; 10];
    ids.fill_bytes(&mut tail);
    tail[0] = 0;
    tail[1] = position;
    Builder::from_unix_timestamp_millis(milliseconds, &tail).into_uuid()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    /// The values of each row, `None` for NULL.
    fn read(copied: &[u8]) -> Vec<Vec<Option<Vec<u8>>>> {
        let mut rest = copied.strip_prefix(SIGNATURE).unwrap();
        let mut take = |bytes: usize| {
            let (taken, left) = rest.split_at(bytes);
            rest = left;
            taken.to_vec()
        };
        let mut rows = Vec::new();
        loop {
            let columns = i16::from_be_bytes(take(2).try_into().unwrap());
            if columns == -1 {
                assert!(rest.is_empty(), "nothing stands behind the trailer");
                return rows;
            }
            let mut value = || {
                let length = i32::from_be_bytes(take(4).try_into().unwrap());
                usize::try_from(length).ok().map(&mut take)
            };
            rows.push((0..columns).map(|_| value()).collect());
        }
    }

    #[test]
    fn ids_are_version_seven_of_the_sales_time_and_in_the_order_of_items() {
        let time = Utc::now();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let ids: Vec<Uuid> = (0..6).map(|position| id(time, position, &mut rng)).collect();
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert!(ids.is_sorted());
        let (seconds, nanos) = ids[0].get_timestamp().unwrap().to_unix();
        assert_eq!(seconds * 1_000 + u64::from(nanos) / 1_000_000, u64::try_from(time.timestamp_millis()).unwrap());
        assert!(id(time + TimeDelta::milliseconds(1), 0, &mut rng) > ids[5]);
    }

    #[test]
    fn the_same_seed_gives_the_same_ids_however_large_the_segments_are() {
        let ids = |size: usize| -> Vec<_> {
            let segments = Segments::of(&Plan::new(100), size);
            segments.flat_map(|segment| read(&segment.items)).map(|row| row[..2].to_vec()).collect()
        };
        assert_eq!(ids(7), ids(100));
    }

    #[test]
    fn every_row_has_all_columns_and_segments_hold_all_sales() {
        let sales: Vec<Sale> = Plan::new(100).sales().collect();
        let segments: Vec<Segment> = Segments::of(&Plan::new(100), 30).collect();
        assert_eq!(segments.iter().map(|segment| segment.share.sales).collect::<Vec<_>>(), [30, 30, 30, 10]);
        let all = |of: fn(&Segment) -> &Vec<u8>| segments.iter().flat_map(|one| read(of(one))).collect::<Vec<_>>();
        let (transactions, items) = (all(|one| &one.transactions), all(|one| &one.items));
        assert_eq!(transactions.len(), 100);
        assert_eq!(items.len(), sales.iter().map(|sale| sale.lines.len()).sum::<usize>());
        for (row, sale) in transactions.iter().zip(&sales) {
            assert_eq!(row.len(), 11);
            assert_eq!(row[2].as_deref(), Some(sale.cashier_id.to_be_bytes().as_slice()));
            assert_eq!(row[4].as_deref(), Some(sale.payment_method.as_bytes()));
            assert_eq!(row[7], sale.customer_id.map(|id| id.to_be_bytes().to_vec()));
        }
        assert!(items.iter().all(|row| row.len() == 9 && row.iter().all(Option::is_some)));
    }

    #[test]
    fn psql_gets_each_command_on_a_line_of_its_own() {
        let [transactions, items] = psql_commands([Path::new("/a b"), Path::new("/c")]);
        assert!(transactions.starts_with("\\copy sales.sales_transaction (transaction_id, "), "{transactions}");
        assert!(transactions.ends_with(", version) from '/a b' with (format binary)"), "{transactions}");
        assert!(items.contains("sales.sales_item") && !items.contains('\n'), "{items}");
    }

    #[tokio::test]
    async fn each_reader_gets_every_segment_and_a_reader_that_goes_ends_the_making() {
        let [mut one, mut other] = make_for::<2>(Segments::of(&Plan::new(20), 10));
        for _ in 0..2 {
            let (mine, yours) = tokio::join!(one.recv(), other.recv());
            assert!(Arc::ptr_eq(&mine.unwrap(), &yours.unwrap()));
        }
        assert!(one.recv().await.is_none() && other.recv().await.is_none());
        let [gone, mut left] = make_for::<2>(Segments::of(&Plan::new(1_000), 1));
        drop(gone);
        let mut received = 0;
        while left.recv().await.is_some() {
            received += 1;
        }
        assert!(received < 10, "{received}");
    }
}
