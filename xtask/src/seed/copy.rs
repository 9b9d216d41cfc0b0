//! Sales through the back door: COPY straight into the primary, for amounts that no till could send.

use std::fmt::Write;
use std::future::Future;
use std::str::FromStr;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use uuid::{Builder, Uuid};

use super::Plan;
use super::generator::Sale;
use super::progress::{Outcome, Progress, Share};
use crate::terminal::counted;

const COPY_TRANSACTIONS: &str = "
    copy sales.sales_transaction (transaction_id, transaction_time, cashier_id, store_id, payment_method,
        total_amount, total_discount, customer_id, created_at, updated_at, version)
    from stdin";

const COPY_ITEMS: &str = "
    copy sales.sales_item (item_id, transaction_id, product_code, product_name, category,
        quantity, unit_price, discount, total_price)
    from stdin";

/// The stream of random numbers that ids are drawn from, apart from the one that sales are made of:
/// otherwise the same seed would give other sales through the front door.
const ID_STREAM: u64 = 1;

/// Copies the sales of `plan` into the database at `primary_url`, one database transaction a batch.
///
/// Ids follow from the seed, so the same seed can't be copied twice. When `stop` resolves, the batch under way
/// is still committed.
///
/// # Errors
///
/// The primary can't be reached or refuses a batch. The message says how many sales are in.
pub async fn copy(primary_url: &str, plan: &Plan, stop: impl Future<Output = ()>) -> anyhow::Result<Outcome> {
    let options = PgConnectOptions::from_str(primary_url).context("the primary's URL is not a PostgreSQL URL")?;
    let options = options.application_name("tandem-seed").disable_statement_logging();
    let mut connection = PgConnection::connect_with(&options)
        .await
        .context("the primary can't be reached: start it with `cargo xtask up`, or name it with --primary-url")?;
    let mut rng = ChaCha8Rng::seed_from_u64(plan.rng_seed);
    rng.set_stream(ID_STREAM);
    let mut progress = Progress::start(plan.sales);
    let mut sales = plan.sales();
    let mut stop = std::pin::pin!(stop);
    loop {
        let batch: Vec<Sale> = sales.by_ref().take(plan.batch_size.max(1)).collect();
        if batch.is_empty() || futures::poll!(&mut stop).is_ready() {
            break;
        }
        if let Err(error) = copy_batch(&mut connection, &Rows::of(&batch, Utc::now(), &mut rng)).await {
            let sales = progress.sales();
            drop(progress);
            return Err(explained(error))
                .with_context(|| format!("seeding ended early after {}", counted(sales, "sale")));
        }
        batch.iter().for_each(|sale| progress.add(Share::from(sale)));
    }
    connection.close().await.context("the connection to the primary did not end cleanly")?;
    Ok(progress.finish())
}

fn explained(error: sqlx::Error) -> anyhow::Error {
    let duplicate = error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation);
    let error = anyhow::Error::new(error);
    if duplicate {
        return error.context("the sales of this seed are there already: choose another with --rng-seed");
    }
    error.context("the primary refused a batch")
}

/// Headers before items, as the foreign key and the replica's order of apply want it.
async fn copy_batch(connection: &mut PgConnection, rows: &Rows) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for (statement, text) in [(COPY_TRANSACTIONS, &rows.transactions), (COPY_ITEMS, &rows.items)] {
        let mut sink = transaction.copy_in_raw(statement).await?;
        sink.send(text.as_bytes()).await?;
        sink.finish().await?;
    }
    transaction.commit().await
}

/// One batch in COPY's text format.
#[derive(Debug, Default)]
struct Rows {
    transactions: String,
    items: String,
}

impl Rows {
    /// `now` is when the rows are stored; sales happened earlier.
    fn of(batch: &[Sale], now: DateTime<Utc>, rng: &mut impl Rng) -> Self {
        let now = text(now);
        let mut rows = Self::default();
        for sale in batch {
            rows.add(sale, &now, rng).expect("writing to a string can't fail");
        }
        rows
    }

    fn add(&mut self, sale: &Sale, now: &str, rng: &mut impl Rng) -> std::fmt::Result {
        let transaction_id = id(sale.time, 0, rng);
        let customer = sale.customer_id.map_or_else(|| "\\N".to_owned(), |id| id.to_string());
        writeln!(
            self.transactions,
            "{transaction_id}\t{time}\t{cashier}\t{store}\t{method}\t{amount}\t{discount}\t{customer}\t{now}\t{now}\t1",
            time = text(sale.time),
            cashier = sale.cashier_id,
            store = sale.store_id,
            method = sale.payment_method,
            amount = sale.total_amount(),
            discount = sale.total_discount(),
        )?;
        for (position, line) in (1..).zip(&sale.lines) {
            writeln!(
                self.items,
                "{item_id}\t{transaction_id}\t{code}\t{name}\t{category}\t{quantity}\t{price}\t{discount}\t{total}",
                item_id = id(sale.time, position, rng),
                code = line.product.code,
                name = line.product.name,
                category = line.product.category,
                quantity = line.quantity,
                price = line.product.unit_price(),
                discount = line.discount,
                total = line.total_price(),
            )?;
        }
        Ok(())
    }
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A UUIDv7 of the sale's time. The position stands right behind the time, so that the items of a sale, which
/// share it, stay in order.
fn id(time: DateTime<Utc>, position: u8, rng: &mut impl Rng) -> Uuid {
    let milliseconds = u64::try_from(time.timestamp_millis()).unwrap_or_default();
    let mut tail = [0; 10];
    rng.fill_bytes(&mut tail);
    tail[0] = 0;
    tail[1] = position;
    Builder::from_unix_timestamp_millis(milliseconds, &tail).into_uuid()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(1)
    }

    #[test]
    fn ids_are_version_seven_of_the_sales_time_and_in_the_order_of_items() {
        let time = Utc::now();
        let mut rng = rng();
        let ids: Vec<Uuid> = (0..6).map(|position| id(time, position, &mut rng)).collect();
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert!(ids.is_sorted());
        let (seconds, nanos) = ids[0].get_timestamp().unwrap().to_unix();
        assert_eq!(seconds * 1_000 + u64::from(nanos) / 1_000_000, u64::try_from(time.timestamp_millis()).unwrap());
        assert!(id(time + TimeDelta::milliseconds(1), 0, &mut rng) > ids[5]);
    }

    #[test]
    fn the_same_seed_gives_the_same_rows() {
        let sales: Vec<Sale> = Plan::new(100).sales().collect();
        let now = Utc::now();
        let (one, other) = (Rows::of(&sales, now, &mut rng()), Rows::of(&sales, now, &mut rng()));
        assert_eq!((one.transactions, one.items), (other.transactions, other.items));
    }

    #[test]
    fn every_row_has_all_columns() {
        let sales: Vec<Sale> = Plan::new(100).sales().collect();
        let rows = Rows::of(&sales, Utc::now(), &mut rng());
        let columns = |text: &str| text.lines().map(|line| line.split('\t').count()).collect::<Vec<_>>();
        assert!(columns(&rows.transactions).iter().all(|count| *count == 11));
        assert!(columns(&rows.items).iter().all(|count| *count == 9));
        assert_eq!(rows.transactions.lines().count(), 100);
        assert_eq!(rows.items.lines().count(), sales.iter().map(|sale| sale.lines.len()).sum::<usize>());
    }
}
