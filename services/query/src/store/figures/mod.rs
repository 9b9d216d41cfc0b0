//! Figures over many sales, by step and group.
//!
//! Exact in the snapshot of the transaction that asks, wherever they come from: the rollups plus what has changed since,
//! or the sales themselves.

mod rollups;
mod row;
mod sales;

use sqlx::PgConnection;

use self::row::Sums;
use super::fold::{Horizon, MAX_CHANGED};
use crate::domain::{Cell, Dimension, FiguresQuestion, Grain, Segment};

/// The figures that a question asks for, in no order. Groups without sales are left out.
pub async fn of(connection: &mut PgConnection, question: &FiguresQuestion) -> Result<Vec<Cell>, sqlx::Error> {
    let mut sums = Sums::default();
    let (by_rollups, by_sales) = split(question);
    if let (Some(rollup), false) = (question.rollup(), by_rollups.is_empty())
        && let Some(horizon) = Horizon::current(&mut *connection).await?
        && let Some(changed) = horizon.changed(&mut *connection, MAX_CHANGED).await?
    {
        // Changes first: tables are locked in the order in which a TRUNCATE locks them.
        if !changed.is_empty() {
            rollups::add_changed(&mut sums, &mut *connection, question, &by_rollups, &horizon, &changed).await?;
        }
        rollups::add_held(&mut sums, &mut *connection, &rollup, question.dimension, &by_rollups, &horizon).await?;
        if !by_sales.is_empty() {
            sales::add(&mut sums, connection, question, &by_sales).await?;
        }
    } else {
        sales::add(&mut sums, connection, question, &question.segments).await?;
    }
    sums.cells(question.dimension)
}

/// Segments that rollups hold, if they hold the question, and the others.
fn split(question: &FiguresQuestion) -> (Vec<Segment>, Vec<Segment>) {
    let held = |segment: &Segment| match segment.grain {
        Grain::Day => true,
        // Products have no rollups of hours: there would be nearly as many as items.
        Grain::Hour => question.dimension != Dimension::Product,
        Grain::Sale => false,
    };
    question.segments.iter().copied().partition(held)
}
