//! Rows of figures, and their sums.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures::{Stream, TryStreamExt as _};
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

/// Sums of rows of one group and step.
#[derive(Default)]
pub struct Sums(HashMap<String, HashMap<i32, Figures>>);

impl Sums {
    pub fn add(&mut self, row: Row) {
        let Row { step, key, revenue, transactions, items_sold, total_discount } = row;
        let sum = self.0.entry(key).or_default().entry(step).or_default();
        *sum += Figures { revenue, transactions, items_sold, total_discount };
    }

    /// Adds rows as they come, while the database makes the next ones.
    pub async fn add_all(
        &mut self,
        mut rows: impl Stream<Item = Result<Row, sqlx::Error>> + Unpin,
    ) -> Result<(), sqlx::Error> {
        while let Some(row) = rows.try_next().await? {
            self.add(row);
        }
        Ok(())
    }

    /// Groups whose sales are all gone have no cell.
    pub fn cells(self, dimension: Dimension) -> Result<Vec<Cell>, sqlx::Error> {
        let mut cells = Vec::with_capacity(self.0.values().map(HashMap::len).sum());
        for (key, steps) in self.0 {
            let group = group(dimension, key)?;
            let left = steps.into_iter().filter(|(_, figures)| figures.transactions != 0);
            cells.extend(left.map(|(step, figures)| Cell { step, group: group.clone(), figures }));
        }
        Ok(cells)
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
