//! Key figures of a range.

use sqlx::PgConnection;

use crate::domain::{Filter, Range, Summary};

/// Sums up the sales of a range that pass the filter.
pub async fn of(connection: &mut PgConnection, range: Range, filter: &Filter) -> Result<Summary, sqlx::Error> {
    sqlx::query_file_as!(
        Summary,
        "src/store/summary.sql",
        range.start(),
        range.end(),
        &filter.store_ids,
        &filter.cashier_ids,
        &filter.customer_ids,
        &filter.payment_methods,
    )
    .fetch_one(connection)
    .await
}
