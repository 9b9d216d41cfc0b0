//! The products that sold best.

use sqlx::PgConnection;

use crate::domain::{Product, Range, Ranking, SalesFilter};

/// At most `limit` products, best first; products of equal figures in the order of their codes.
pub async fn of(
    connection: &mut PgConnection,
    range: Range,
    filter: &SalesFilter,
    ranking: Ranking,
    limit: i32,
) -> Result<Vec<Product>, sqlx::Error> {
    sqlx::query_file_as!(
        Product,
        "src/store/top_products.sql",
        range.start(),
        range.end(),
        &filter.store_ids,
        &filter.payment_methods,
        ranking == Ranking::Quantity,
        i64::from(limit),
    )
    .fetch_all(connection)
    .await
}
