//! This service's row of the watermark table.

use futures::FutureExt as _;
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
};
use tandem_replication::{Position, Watermark};

/// Writes the watermark row of `writer`, and gives the position that it holds.
pub async fn write_watermark(
    database: &Database,
    writer: String,
    deadline: Deadline,
) -> Result<Position, DatabaseError> {
    database.write(deadline, |connection| async move { Ok(Watermark::write(connection, &writer).await?) }.boxed()).await
}

/// Removes the rows of services that have not written for a day: they are gone, and had another name.
pub async fn remove_abandoned(database: &Database, deadline: Deadline) -> Result<u64, DatabaseError> {
    database
        .write(deadline, |connection| {
            async move {
                Ok(sqlx::query!("delete from tandem.watermark where written_at < now() - interval '1 day'")
                    .execute(connection)
                    .await?
                    .rows_affected())
            }
            .boxed()
        })
        .await
}
