//! Sales around midnights and changes of clocks, and some anywhere: the same ones in every run.

use chrono::{DateTime, TimeDelta, Utc};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;
use tandem_proto::{
    sales::{
        command::v1::BatchCreateTransactionsRequest,
        v1::{SalesItem, SalesTransaction},
    },
    time::to_timestamp,
};
use tandem_tests::{Tandem, request::usd};
use tokio::sync::OnceCell;

/// The zones that questions are asked in, each with moments at which something happens to its days or clocks.
pub const ZONES: [(&str, &[&str]); 7] = [
    // Midnight is skipped, and comes twice as eleven o'clock.
    ("America/Sao_Paulo", &["2018-11-04T03:00:00Z", "2018-02-18T02:00:00Z"]),
    ("Europe/Berlin", &["2018-03-25T01:00:00Z", "2018-10-28T01:00:00Z", "2017-12-31T23:00:00Z"]),
    ("Asia/Kolkata", &["2018-02-28T18:30:00Z", "2018-03-31T18:30:00Z"]),
    ("Asia/Kathmandu", &["2018-02-28T18:15:00Z", "2018-06-10T18:15:00Z"]),
    // Clocks move by half an hour.
    ("Australia/Lord_Howe", &["2018-03-31T15:00:00Z", "2018-10-06T15:30:00Z"]),
    // A day is skipped.
    ("Pacific/Apia", &["2011-12-30T10:00:00Z"]),
    ("UTC", &["2018-01-01T00:00:00Z", "2018-06-11T00:00:00Z"]),
];

pub const STORES: i32 = 5;
pub const CASHIERS: i32 = 7;
pub const METHODS: [&str; 3] = ["cash", "credit_card", "qris"];
pub const PRODUCTS: [&str; 6] = ["A", "a", "B-1", "Ä", "P 2", "p_2"];
/// Not bound to products: one product is sold in several.
pub const CATEGORIES: [&str; 4] = ["Food", "food", "Drinks", "Ünïcode"];

/// Sales that lie anywhere in a year and a half.
const ANYWHERE: usize = 1_500;
/// Sales of one command.
const BATCH: usize = 500;

/// Plants the sales, once for all tests of this binary, and gives the token that covers them.
pub async fn planted() -> (&'static Tandem, String) {
    static TOKEN: OnceCell<String> = OnceCell::const_new();
    let tandem = Tandem::shared().await;
    let token = TOKEN.get_or_init(|| plant(tandem)).await;
    (tandem, token.clone())
}

async fn plant(tandem: &Tandem) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let mut times = Vec::new();
    let hours = [-49, -25, -24, -23, -2, -1, 0, 1, 2, 23, 24, 25, 49];
    for moment in ZONES.iter().flat_map(|(_, moments)| *moments) {
        let moment: DateTime<Utc> = moment.parse().unwrap();
        for hour in hours {
            for minutes in [0, 15, 30, 45] {
                let time = moment + TimeDelta::hours(hour) + TimeDelta::minutes(minutes);
                let micros = [-1, 0, 1][random.random_range(0..3)];
                times.push(time + TimeDelta::microseconds(micros));
            }
        }
    }
    let start: DateTime<Utc> = "2017-10-01T00:00:00Z".parse().unwrap();
    times.extend((0..ANYWHERE).map(|_| start + TimeDelta::seconds(random.random_range(0..540 * 86_400))));
    let sales: Vec<_> = times.into_iter().map(|time| sale(&mut random, time)).collect();
    let mut token = String::new();
    for batch in sales.chunks(BATCH) {
        let asked = BatchCreateTransactionsRequest { transactions: batch.to_vec(), ..Default::default() };
        token = tandem.commands().batch_create_transactions(asked).await.unwrap().into_inner().consistency_token;
    }
    token
}

fn sale(random: &mut ChaCha8Rng, time: DateTime<Utc>) -> SalesTransaction {
    let items = random.random_range(1..5);
    SalesTransaction {
        transaction_time: Some(to_timestamp(time)),
        cashier_id: random.random_range(1..=CASHIERS),
        store_id: random.random_range(1..=STORES),
        payment_method: METHODS[random.random_range(0..METHODS.len())].to_owned(),
        customer_id: random.random_bool(0.5).then(|| random.random_range(1..20)),
        items: (0..items).map(|_| item(random)).collect(),
        ..SalesTransaction::default()
    }
}

fn item(random: &mut ChaCha8Rng) -> SalesItem {
    let cents = |cents: i64| Some(usd(&Decimal::new(cents, 2).to_string()));
    let unit_price = random.random_range(1..5_000);
    let category = random.random_range(0..=CATEGORIES.len());
    let name = random.random_range(0..3);
    let product_code = PRODUCTS[random.random_range(0..PRODUCTS.len())];
    SalesItem {
        product_code: product_code.to_owned(),
        product_name: format!("{product_code} number {name}"),
        category: CATEGORIES.get(category).map(|&category| category.to_owned()),
        quantity: random.random_range(1..10),
        unit_price: cents(unit_price),
        discount: cents(random.random_range(0..=unit_price.min(100))),
        ..SalesItem::default()
    }
}
