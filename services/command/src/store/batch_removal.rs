//! Tables `tandem.batch_control` and `tandem.batch_part`: batches that are old enough to go.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Batches looked at in one portion: few milliseconds of work.
const BATCHES_AT_ONCE: i64 = 100;
/// Parts removed in one portion. One of an import holds up to 10,000 ids: these are 32 MB at most.
const PARTS_AT_ONCE: i64 = 200;

/// Removes some of the batches all of whose tables ended before `before`, and says how many rows that were; none means that
/// none is left. The replica removes them behind the primary, by replication.
///
/// A batch that is being written is never removed, however long ago it began, nor one whose import can still be resumed: what
/// the import goes on to write would be all that the batch names. A batch with more parts than one portion takes goes
/// piece by piece, and says what it is until its last piece.
pub async fn remove_older_batches(connection: &mut PgConnection, before: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let batch_ids = old(&mut *connection, before).await?;
    if batch_ids.is_empty() {
        return Ok(0);
    }
    let parts = sqlx::query!(
        "
        delete from tandem.batch_part as part
        using (
            select batch_id, part
            from tandem.batch_part
            where batch_id = any($1)
            order by batch_id, part
            limit $2
        ) as oldest
        where part.batch_id = oldest.batch_id and part.part = oldest.part
        ",
        &batch_ids,
        PARTS_AT_ONCE,
    )
    .execute(&mut *connection)
    .await?;
    let batches = sqlx::query!(
        "
        delete from tandem.batch_control as batch
        where batch_id = any($1)
            and not exists (select from tandem.batch_part as part where part.batch_id = batch.batch_id)
        ",
        &batch_ids,
    )
    .execute(connection)
    .await?;
    Ok(parts.rows_affected() + batches.rows_affected())
}

/// Batches that may go. They are locked, as those lock them who begin one again (in the order of the tables), and looked
/// at once more: one that was begun again meanwhile stays.
async fn old(connection: &mut PgConnection, before: DateTime<Utc>) -> Result<Vec<String>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "
        select distinct batch_id
        from (
            select batch.batch_id
            from tandem.batch_control as batch
            where batch.started_at < $1 and batch.ended_at < $1
                and not exists (
                    select
                    from tandem.batch_control as other
                    where other.batch_id = batch.batch_id and (other.ended_at is null or other.ended_at >= $1)
                )
                and not exists (
                    select
                    from tandem.import
                    where import.import_id = case
                        when batch.batch_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then batch.batch_id::uuid
                    end
                )
            order by batch.started_at, batch.batch_id
            limit $2
        ) as oldest
        ",
        before,
        BATCHES_AT_ONCE,
    )
    .fetch_all(&mut *connection)
    .await?;
    let locked = sqlx::query!(
        "
        select batch_id, ended_at
        from tandem.batch_control
        where batch_id = any($1)
        order by batch_id, schema_name, table_name
        for update
        ",
        &found,
    )
    .fetch_all(connection)
    .await?;
    let goes = |batch_id: &String| {
        let mut tables = locked.iter().filter(|table| table.batch_id == *batch_id);
        tables.all(|table| table.ended_at.is_some_and(|ended_at| ended_at < before))
    };
    Ok(found.into_iter().filter(goes).collect())
}
