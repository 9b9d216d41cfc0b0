//! Figures from the sales themselves.

use sqlx::PgConnection;

use super::row::{Columns, Row, name};
use crate::domain::{FiguresQuestion, Segment};

/// Figures of these segments, whatever the question.
pub async fn of(
    connection: &mut PgConnection,
    question: &FiguresQuestion,
    segments: &[Segment],
) -> Result<Vec<Row>, sqlx::Error> {
    let columns = Columns::of(segments);
    let FiguresQuestion { dimension, filter, .. } = question;
    if question.is_of_items() {
        sqlx::query_file_as!(
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
        .fetch_all(connection)
        .await
    } else {
        sqlx::query_file_as!(
            Row,
            "src/store/figures/of_sales.sql",
            name(*dimension),
            &columns.steps,
            &columns.starts,
            &columns.ends,
            &filter.store_ids,
            &filter.payment_methods,
        )
        .fetch_all(connection)
        .await
    }
}
