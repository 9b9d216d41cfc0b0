//! Tables `tandem.batch_control` and `tandem.batch_part`: each import is a batch under its own id.

use futures::FutureExt as _;
use sqlx::PgConnection;
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
};
use tandem_replication::{Lsn, Position};
use uuid::Uuid;

/// A stream's hold on the batch of its import.
#[derive(Clone, Copy, Debug)]
pub struct ImportBatch {
    /// Names the import, and as text the batch.
    pub import_id: Uuid,
    /// The number of the stream: a newer one says itself what becomes of the batch.
    pub stream: i64,
}

impl ImportBatch {
    /// The import goes on, for the first time or once more. In the database transaction that claims the import.
    pub(super) async fn open(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "
            insert into tandem.batch_control as batch (batch_id, schema_name, table_name, status, started_at)
            select $1, 'sales', table_name, 'IN_PROGRESS', now()
            from unnest(array['sales_item', 'sales_transaction']) as table_name
            on conflict (batch_id, schema_name, table_name) do update
            set status = 'IN_PROGRESS',
                ended_at = null,
                lsn = null,
                system_identifier = null,
                timeline = null,
                row_count = null,
                error = null
            ",
            self.import_id.to_string(),
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// These sales belong to it. In the database transaction that writes them.
    pub(super) async fn add_part(
        self,
        connection: &mut PgConnection,
        transaction_ids: &[Uuid],
    ) -> Result<(), sqlx::Error> {
        if transaction_ids.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "
            insert into tandem.batch_part (batch_id, part, transaction_ids)
            select $1, coalesce(max(part), 0) + 1, $2
            from tandem.batch_part
            where batch_id = $1
            ",
            self.import_id.to_string(),
            transaction_ids,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// All of it stands before `position`. Changes nothing when that is known already.
    pub(super) async fn complete(
        self,
        connection: &mut PgConnection,
        position: Position,
        sales: i64,
        items: i64,
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "
            update tandem.batch_control
            set status = 'COMPLETED',
                ended_at = now(),
                lsn = $2,
                system_identifier = $3,
                timeline = $4,
                row_count = case table_name when 'sales_item' then $6::bigint else $5::bigint end,
                error = null
            where batch_id = $1 and status <> 'COMPLETED'
            ",
            self.import_id.to_string(),
            position.lsn as Lsn,
            position.identity.system_identifier,
            position.identity.timeline,
            sales,
            items,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// The stream has ended and the import is not complete. What is durable stays, and is what a position behind it and the
    /// counts stand for. Over a connection of the pool: the stream's own may be broken.
    pub async fn fail(self, database: &Database, error: String, deadline: Deadline) -> Result<(), DatabaseError> {
        let Self { import_id, stream } = self;
        database
            .write(deadline, move |connection| {
                async move {
                    let position = Position::current(&mut *connection).await?;
                    // The import's lock first, as those take it who go on with the import: whoever has taken it over is
                    // seen.
                    sqlx::query!(
                        "
                        with ours as (
                            select rows_written, items_written
                            from tandem.import
                            where import_id = $2 and stream = $3 and not is_complete
                            for share
                        )
                        update tandem.batch_control as batch
                        set status = 'FAILED',
                            ended_at = now(),
                            lsn = $4,
                            system_identifier = $5,
                            timeline = $6,
                            row_count = case table_name when 'sales_item' then items_written else rows_written end,
                            error = $7
                        from ours
                        where batch.batch_id = $1 and batch.status = 'IN_PROGRESS'
                        ",
                        import_id.to_string(),
                        import_id,
                        stream,
                        position.lsn as Lsn,
                        position.identity.system_identifier,
                        position.identity.timeline,
                        error,
                    )
                    .execute(connection)
                    .await?;
                    Ok(())
                }
                .boxed()
            })
            .await
    }
}
