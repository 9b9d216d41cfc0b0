//! Figures from the sales themselves.

use sqlx::PgConnection;

use super::row::{Columns, Row, Sums, name};
use crate::domain::{FiguresQuestion, Segment};

/// Adds the figures of these segments, whatever the question.
pub async fn add(
    sums: &mut Sums,
    connection: &mut PgConnection,
    question: &FiguresQuestion,
    segments: &[Segment],
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(segments);
    let FiguresQuestion { dimension, filter, .. } = question;
    if question.is_of_items() {
        let rows = sqlx::query_file_as!(
            Row,
            "src/store/figures/of_items.sql",
            name(*dimension),
            &columns.steps,
            &columns.starts,
            &columns.ends,
            &filter.store_ids,
            &filter.payment_methods,
            &filter.categories,
        )
        .fetch(connection);
        sums.add_all(rows).await
    } else {
        let rows = sqlx::query_file_as!(
            Row,
            "src/store/figures/of_sales.sql",
            name(*dimension),
            &columns.steps,
            &columns.starts,
            &columns.ends,
            &filter.store_ids,
            &filter.payment_methods,
        )
        .fetch(connection);
        sums.add_all(rows).await
    }
}
