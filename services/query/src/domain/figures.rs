//! Figures over many sales.

use chrono::{DateTime, Utc};
use rust_decimal::{Decimal, RoundingStrategy};

/// Decimals of money.
const CENTS: u32 = 2;

/// Key figures of a range.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Sum of `total_amount`.
    pub revenue: Decimal,
    /// How many sales.
    pub transactions: i64,
    /// Sum of the items' quantities.
    pub items_sold: i64,
    /// Sum of `total_discount`.
    pub total_discount: Decimal,
}

impl Summary {
    /// What a sale comes to on average, rounded half up to cents; zero without sales.
    pub fn average_transaction(&self) -> Decimal {
        match self.transactions {
            0 => Decimal::ZERO,
            count => (self.revenue / Decimal::from(count))
                .round_dp_with_strategy(CENTS, RoundingStrategy::MidpointAwayFromZero),
        }
    }
}

/// One step of a series.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Point {
    /// Where the step begins.
    pub start: DateTime<Utc>,
    /// The figures of the step.
    pub figures: Summary,
}

/// What makes a product a top product.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ranking {
    /// The sum of `total_price`.
    Revenue,
    /// The sum of `quantity`.
    Quantity,
}

/// A product's figures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Product {
    /// Identifies it.
    pub product_code: String,
    /// As on its latest sale.
    pub product_name: String,
    /// As on its latest sale.
    pub category: Option<String>,
    /// Pieces sold.
    pub quantity: i64,
    /// Sum of `total_price`.
    pub revenue: Decimal,
    /// Sales that hold it.
    pub transactions: i64,
}

#[cfg(test)]
mod tests {
    use super::{Decimal, Summary};

    fn average(revenue: &str, transactions: i64) -> String {
        let revenue = revenue.parse().unwrap();
        Summary { revenue, transactions, ..Summary::default() }.average_transaction().to_string()
    }

    #[test]
    fn the_average_is_rounded_half_up_to_cents() {
        assert_eq!(average("0.01", 2), "0.01");
        assert_eq!(average("10.00", 3), "3.33");
        assert_eq!(average("20.00", 3), "6.67");
    }

    #[test]
    fn no_sales_average_to_zero() {
        assert_eq!(Summary::default().average_transaction(), Decimal::ZERO);
    }
}
