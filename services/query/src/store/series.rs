//! Key figures, step by step.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use crate::domain::{Point, Range, SalesFilter, Summary};

struct Row {
    start: DateTime<Utc>,
    revenue: Decimal,
    transactions: i64,
    items_sold: i64,
    total_discount: Decimal,
}

/// The figures of each UTC day that the range touches, in order. Of the first and the last day only what lies in the
/// range counts.
pub async fn daily(
    connection: &mut PgConnection,
    range: Range,
    filter: &SalesFilter,
) -> Result<Vec<Point>, sqlx::Error> {
    let rows = sqlx::query_file_as!(
        Row,
        "src/store/series_daily.sql",
        range.start(),
        range.end(),
        &filter.store_ids,
        &filter.payment_methods,
    )
    .fetch_all(connection)
    .await?;
    let point = |row: Row| {
        let figures = Summary {
            revenue: row.revenue,
            transactions: row.transactions,
            items_sold: row.items_sold,
            total_discount: row.total_discount,
        };
        Point { start: row.start, figures }
    };
    Ok(rows.into_iter().map(point).collect())
}
