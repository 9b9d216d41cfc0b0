//! Writers that change the same few sales, some in long transactions, some of which are rolled back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use sqlx::{Connection as _, PgConnection};
use tokio::{task::JoinSet, time::sleep};

/// One statement each. `$1` picks.
const WRITES: [&str; 7] = [
    "with header as (
        insert into sales.sales_transaction (
            transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            created_at, updated_at, version
        )
        select gen_random_uuid(), now(), 1, 1 + ($1 % 3), 'cash', ($1 % 500) * 0.01, 0, now(), now(), 1
        from generate_series(0, $1 % 3)
        returning transaction_id
    )
    insert into sales.sales_item (
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
    )
    select gen_random_uuid(), transaction_id, 'P-' || number, 'Product', 'Food', 1 + number, 2.50, 0, (1 + number) * 2.50
    from header cross join generate_series(0, $1 % 4) as number",
    "update sales.sales_transaction set store_id = 1 + ($1 % 3), version = version + 1
    where transaction_id in (select transaction_id from sales.sales_transaction order by random() limit 2)",
    "update sales.sales_transaction set payment_method = 'card', total_amount = total_amount + 1, version = version + 1
    where transaction_id in (select transaction_id from sales.sales_transaction order by random() limit 1 + $1 % 3)",
    "update sales.sales_item set quantity = quantity + 1, total_price = total_price + unit_price
    where item_id in (select item_id from sales.sales_item order by random() limit 2)",
    "update sales.sales_item
    set transaction_id = (select transaction_id from sales.sales_transaction order by random() limit 1)
    where item_id in (select item_id from sales.sales_item order by random() limit 1)",
    "delete from sales.sales_item
    where item_id in (select item_id from sales.sales_item order by random() limit 1 + $1 % 2)",
    "delete from sales.sales_transaction
    where transaction_id in (select transaction_id from sales.sales_transaction order by random() limit 1)",
];

/// Writers at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<()>,
}

impl Load {
    /// One writer a connection.
    pub fn start(connections: Vec<PgConnection>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for (number, connection) in (seed..).zip(connections) {
            writers.spawn(write(connection, Arc::clone(&stop), number));
        }
        Self { stop, writers }
    }

    /// Some time of them.
    pub async fn run_for(self, time: Duration) {
        sleep(time).await;
        self.stop().await;
    }

    /// Ends them; what they have not committed is rolled back.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
    }
}

/// A number below another.
pub fn pick(random: &mut ChaCha8Rng, below: u64) -> u64 {
    random.next_u64() % below
}

async fn write(mut database: PgConnection, stop: Arc<AtomicBool>, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
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
            // Now and then longer than several steps.
            let longest = if pick(&mut random, 10) == 0 { 400 } else { 8 };
            sleep(Duration::from_millis(pick(&mut random, longest))).await;
        }
        if sound && pick(&mut random, 5) > 0 {
            let _refused = transaction.commit().await;
        } else {
            transaction.rollback().await.unwrap();
        }
    }
}
