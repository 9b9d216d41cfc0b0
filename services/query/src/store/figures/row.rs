//! Rows of figures, and their sums.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::domain::{Cell, Dimension, Figures, Group, Segment};

/// What every statement for figures gives.
pub struct Row {
    pub step: i32,
    /// The group, as text.
    pub key: String,
    pub revenue: Decimal,
    pub transactions: i64,
    pub items_sold: i64,
    pub total_discount: Decimal,
}

/// Sums of rows of one step and group.
#[derive(Default)]
pub struct Sums(HashMap<(i32, String), Figures>);

impl Sums {
    pub fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            let sum = self.0.entry((row.step, row.key)).or_default();
            sum.revenue += row.revenue;
            sum.transactions += row.transactions;
            sum.items_sold += row.items_sold;
            sum.total_discount += row.total_discount;
        }
    }

    /// Groups whose sales are all gone have no cell.
    pub fn cells(self, dimension: Dimension) -> Result<Vec<Cell>, sqlx::Error> {
        let left = self.0.into_iter().filter(|(_, figures)| figures.transactions != 0);
        left.map(|((step, key), figures)| Ok(Cell { step, group: group(dimension, key)?, figures })).collect()
    }
}

/// As the statements and the type `tandem.dimension` name it.
pub const fn name(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::All => "all",
        Dimension::Store => "store",
        Dimension::Cashier => "cashier",
        Dimension::PaymentMethod => "payment_method",
        Dimension::Category => "category",
        Dimension::Product => "product",
    }
}

/// A group from its key.
fn group(dimension: Dimension, key: String) -> Result<Group, sqlx::Error> {
    let number = |key: String| key.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)));
    Ok(match dimension {
        Dimension::All => Group::All,
        Dimension::Store => Group::Store(number(key)?),
        Dimension::Cashier => Group::Cashier(number(key)?),
        Dimension::PaymentMethod => Group::PaymentMethod(key),
        Dimension::Category => Group::Category(Some(key).filter(|key| !key.is_empty())),
        Dimension::Product => Group::Product(key),
    })
}

/// Segments as the statements take them: one array a column, in the order of time. They must not overlap.
pub struct Columns {
    pub steps: Vec<i32>,
    pub starts: Vec<DateTime<Utc>>,
    pub ends: Vec<DateTime<Utc>>,
}

impl Columns {
    pub fn of(segments: &[Segment]) -> Self {
        let mut segments = segments.to_vec();
        segments.sort_unstable_by_key(|segment| segment.start);
        debug_assert!(segments.is_sorted_by(|one, next| one.end <= next.start), "segments overlap: {segments:?}");
        Self {
            steps: segments.iter().map(|segment| segment.step).collect(),
            starts: segments.iter().map(|segment| segment.start).collect(),
            ends: segments.iter().map(|segment| segment.end).collect(),
        }
    }
}
