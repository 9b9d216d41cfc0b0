//! Sales made from a seed: the same seed, number, days and end give the same sales on every machine.

use chrono::{DateTime, Utc};
use fake::Fake;
use rand::distr::weighted::WeightedIndex;
use rand::prelude::Distribution;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::{Decimal, RoundingStrategy};

use super::catalogue::{CATALOGUE, Product};
use super::hours::Hours;

/// Each store has as many cashiers as the others, so a cashier always sells in the same store.
const CASHIERS: i32 = 10;
const STORES: i32 = 5;
const CUSTOMERS: i32 = 1_000;
/// Of a hundred sales, how many have no known customer.
const ANONYMOUS_PERCENT: u32 = 30;
/// Of a hundred lines, how many have a discount.
const DISCOUNTED_PERCENT: u32 = 10;
/// The share of the line that a discount takes, in percent.
const DISCOUNTS: [(i64, u32); 5] = [(5, 8), (10, 12), (15, 4), (20, 4), (50, 1)];
const PAYMENT_METHODS: [(&str, u32); 5] =
    [("cash", 34), ("credit_card", 26), ("debit_card", 20), ("qris", 12), ("e_wallet", 8)];
const ITEMS: [(usize, u32); 5] = [(1, 38), (2, 30), (3, 17), (4, 10), (5, 5)];
const QUANTITIES: [(i32, u32); 5] = [(1, 72), (2, 19), (3, 6), (4, 2), (5, 1)];

/// A sale as a till would report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    /// When it happened.
    pub time: DateTime<Utc>,
    /// 1 to 10.
    pub cashier_id: i32,
    /// 1 to 5.
    pub store_id: i32,
    /// A code, such as `credit_card`.
    pub payment_method: &'static str,
    /// 1 to 1,000, or unknown.
    pub customer_id: Option<i32>,
    /// 1 to 5, no product twice.
    pub lines: Vec<Line>,
}

/// One line of a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What was sold.
    pub product: &'static Product,
    /// How many.
    pub quantity: i32,
    /// Taken off the line, two decimals.
    pub discount: Decimal,
}

impl Line {
    /// `quantity * unit_price - discount`.
    pub fn total_price(&self) -> Decimal {
        self.undiscounted() - self.discount
    }

    fn undiscounted(&self) -> Decimal {
        self.product.unit_price() * Decimal::from(self.quantity)
    }
}

impl Sale {
    /// The sum of the lines' totals.
    pub fn total_amount(&self) -> Decimal {
        self.lines.iter().map(Line::total_price).sum()
    }

    /// The sum of the lines' discounts.
    pub fn total_discount(&self) -> Decimal {
        self.lines.iter().map(|line| line.discount).sum()
    }
}

/// Something chosen by weight.
#[derive(Debug, Clone)]
struct Choice<T> {
    values: Vec<T>,
    weights: WeightedIndex<u32>,
}

impl<T: Clone> Choice<T> {
    fn new(of: &[(T, u32)]) -> Self {
        let weights = WeightedIndex::new(of.iter().map(|(_, weight)| *weight));
        Self {
            values: of.iter().map(|(value, _)| value.clone()).collect(),
            weights: weights.expect("the weights are constants above zero"),
        }
    }

    fn choose(&self, rng: &mut impl Rng) -> T {
        self.values[self.weights.sample(rng)].clone()
    }
}

/// An iterator over sales, in the order of their times.
#[derive(Debug, Clone)]
pub struct Sales {
    rng: ChaCha8Rng,
    hours: Hours,
    next: u64,
    number: u64,
    payment_methods: Choice<&'static str>,
    items: Choice<usize>,
    products: Choice<&'static Product>,
    quantities: Choice<i32>,
    discounts: Choice<i64>,
}

impl Sales {
    /// `number` sales over the `days` whole days before `until`.
    pub fn new(number: u64, days: u32, until: DateTime<Utc>, rng_seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(rng_seed);
        let hours = Hours::new(days, until, &mut rng);
        let products: Vec<_> = CATALOGUE.iter().map(|(product, weight)| (product, *weight)).collect();
        Self {
            rng,
            hours,
            next: 0,
            number,
            payment_methods: Choice::new(&PAYMENT_METHODS),
            items: Choice::new(&ITEMS),
            products: Choice::new(&products),
            quantities: Choice::new(&QUANTITIES),
            discounts: Choice::new(&DISCOUNTS),
        }
    }

    fn sale(&mut self) -> Sale {
        let time = self.hours.time_of(self.next, self.number, &mut self.rng);
        let cashier_id: i32 = (1..=CASHIERS).fake_with_rng(&mut self.rng);
        let known = !self.percent(ANONYMOUS_PERCENT);
        let customer_id = known.then(|| (1..=CUSTOMERS).fake_with_rng(&mut self.rng));
        let payment_method = self.payment_methods.choose(&mut self.rng);
        let items = self.items.choose(&mut self.rng);
        let mut lines: Vec<Line> = Vec::with_capacity(items);
        while lines.len() < items {
            let line = self.line();
            // A till adds up what is rung up twice. There are many more products than lines.
            if lines.iter().all(|other| other.product.code != line.product.code) {
                lines.push(line);
            }
        }
        let store_id = (cashier_id - 1) / (CASHIERS / STORES) + 1;
        Sale { time, cashier_id, store_id, payment_method, customer_id, lines }
    }

    fn line(&mut self) -> Line {
        let product = self.products.choose(&mut self.rng);
        let quantity = self.quantities.choose(&mut self.rng);
        let mut line = Line { product, quantity, discount: Decimal::new(0, 2) };
        if self.percent(DISCOUNTED_PERCENT) {
            let share = Decimal::new(self.discounts.choose(&mut self.rng), 2);
            let exact = line.undiscounted() * share;
            line.discount = exact.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
        }
        line
    }

    fn percent(&mut self, percent: u32) -> bool {
        let drawn: u32 = (0..100).fake_with_rng(&mut self.rng);
        drawn < percent
    }
}

impl Iterator for Sales {
    type Item = Sale;

    fn next(&mut self) -> Option<Sale> {
        if self.next >= self.number {
            return None;
        }
        let sale = self.sale();
        self.next += 1;
        Some(sale)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.number - self.next);
        (left.unwrap_or(usize::MAX), left.ok())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::{TimeDelta, TimeZone, Timelike};

    use super::*;

    const DAYS: u32 = 30;

    fn until() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 3, 1, 0, 0, 0).unwrap()
    }

    fn sales(number: u64, rng_seed: u64) -> Vec<Sale> {
        Sales::new(number, DAYS, until(), rng_seed).collect()
    }

    fn share<T>(of: &[T], holds: impl Fn(&T) -> bool) -> f64 {
        of.iter().filter(|one| holds(one)).count() as f64 / of.len() as f64
    }

    #[test]
    fn the_same_seed_gives_the_same_sales_and_another_seed_others() {
        assert_eq!(sales(500, 7), sales(500, 7));
        assert_ne!(sales(500, 7), sales(500, 8));
    }

    /// The values are those of the first build: whoever changes them changes everybody's sample data.
    #[test]
    fn the_sales_of_a_seed_stay_the_same_from_build_to_build() {
        let all = sales(1_000, 1);
        let revenue: Decimal = all.iter().map(Sale::total_amount).sum();
        let lines: usize = all.iter().map(|sale| sale.lines.len()).sum();
        let first = &all[0];
        assert_eq!(
            (revenue.to_string().as_str(), lines, first.time.to_rfc3339().as_str(), first.lines[0].product.code),
            PINNED
        );
    }

    const PINNED: (&str, usize, &str, &str) = ("14123.55", 2_163, "2026-01-30T07:03:17.692034+00:00", "CRO-BUT");

    #[test]
    fn as_many_sales_come_as_were_asked_for() {
        assert_eq!(sales(0, 1).len(), 0);
        assert_eq!(sales(1, 1).len(), 1);
        assert_eq!(sales(1_234, 1).len(), 1_234);
    }

    #[test]
    fn times_lie_within_the_days_in_order_and_reach_every_day() {
        let all = sales(3_000, 3);
        let first = until() - TimeDelta::days(i64::from(DAYS));
        assert!(all.iter().all(|sale| sale.time >= first && sale.time < until()));
        assert!(all.is_sorted_by_key(|sale| sale.time));
        let days: BTreeSet<_> = all.iter().map(|sale| sale.time.date_naive()).collect();
        assert_eq!(days.len(), DAYS as usize);
    }

    #[test]
    fn shops_are_busy_at_noon_and_closed_at_night() {
        let all = sales(3_000, 3);
        assert_eq!(all.iter().filter(|sale| sale.time.hour() < 5).count(), 0);
        let at = |hour: u32| share(&all, |sale| sale.time.hour() == hour);
        assert!(at(12) > 2.0 * at(19), "{} {}", at(12), at(19));
    }

    #[test]
    fn ids_stay_in_their_ranges_and_all_of_them_occur() {
        let all = sales(20_000, 5);
        let cashiers: BTreeSet<_> = all.iter().map(|sale| sale.cashier_id).collect();
        let stores: BTreeSet<_> = all.iter().map(|sale| sale.store_id).collect();
        let methods: BTreeSet<_> = all.iter().map(|sale| sale.payment_method).collect();
        let customers: BTreeSet<_> = all.iter().filter_map(|sale| sale.customer_id).collect();
        assert!(cashiers.into_iter().eq(1..=CASHIERS));
        assert!(stores.into_iter().eq(1..=STORES));
        assert!(customers.into_iter().eq(1..=CUSTOMERS));
        assert_eq!(methods.len(), PAYMENT_METHODS.len());
    }

    #[test]
    fn a_cashier_always_sells_in_the_same_store() {
        let pairs: BTreeSet<_> = sales(5_000, 5).iter().map(|sale| (sale.cashier_id, sale.store_id)).collect();
        assert_eq!(pairs.len(), 10);
    }

    #[test]
    fn shares_are_about_what_they_should_be() {
        let all = sales(20_000, 5);
        let lines: Vec<Line> = all.iter().flat_map(|sale| sale.lines.clone()).collect();
        let anonymous = share(&all, |sale| sale.customer_id.is_none());
        let single = share(&lines, |line| line.quantity == 1);
        let discounted = share(&lines, |line| !line.discount.is_zero());
        assert!((0.28..0.32).contains(&anonymous), "{anonymous}");
        assert!((0.69..0.75).contains(&single), "{single}");
        assert!((0.09..0.11).contains(&discounted), "{discounted}");
    }

    #[test]
    fn a_sale_has_one_to_five_lines_with_no_product_twice() {
        let mut lengths = BTreeSet::new();
        for sale in sales(5_000, 5) {
            let codes: BTreeSet<_> = sale.lines.iter().map(|line| line.product.code).collect();
            assert_eq!(codes.len(), sale.lines.len());
            lengths.insert(codes.len());
        }
        assert!(lengths.into_iter().eq(1..=5));
    }

    #[test]
    fn money_has_two_decimals_and_a_discount_never_eats_the_line() {
        for sale in sales(5_000, 5) {
            for line in &sale.lines {
                assert!(line.discount.scale() <= 2 && line.total_price() > Decimal::ZERO, "{line:?}");
            }
            let gross: Decimal = sale.lines.iter().map(Line::undiscounted).sum();
            assert_eq!(gross, sale.total_amount() + sale.total_discount());
        }
    }
}
