//! Key figures of a range.

use sqlx::PgConnection;

use crate::domain::{Range, SalesFilter, Summary};

/// Sums up the sales of a range that pass the filter.
pub async fn of(connection: &mut PgConnection, range: Range, filter: &SalesFilter) -> Result<Summary, sqlx::Error> {
    sqlx::query_file_as!(
        Summary,
        "src/store/summary.sql",
        range.start(),
        range.end(),
        &filter.store_ids,
        &filter.payment_methods,
    )
    .fetch_one(connection)
    .await
}
