//! Tables `tandem.import` and `tandem.import_refusal`: how far each import has come, and which of its rows were wrong.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use tandem_replication::{Lsn, Position, SystemIdentity};
use uuid::Uuid;

use super::error::StoreError;
use crate::domain::import::{ContentHash, Progress, Refusal, RefusedField};

/// Imports that are removed at once: each may have as many refused rows as one can have.
const REMOVED_AT_ONCE: i64 = 10;

/// An import as a stream finds it.
pub struct StoredImport {
    /// Whether all its rows are one database transaction.
    pub all_or_nothing: bool,
    /// The number of the stream that may write.
    pub stream: i64,
    /// How far it has come.
    pub progress: Progress,
    /// Whether it is complete.
    pub is_complete: bool,
}

/// Begins an import, or takes a known one over from the stream that has written it so far; a complete one is only
/// looked at. In a database transaction of the caller's, so that it can think better of it.
pub async fn claim(
    connection: &mut PgConnection,
    import_id: Uuid,
    all_or_nothing: bool,
) -> Result<StoredImport, StoreError> {
    let row = sqlx::query!(
        r#"
        insert into tandem.import as import (
            import_id, all_or_nothing, stream, last_row_number, rows_written, items_written, rows_refused, total_amount,
            total_discount, content_hash, moved_at, is_complete
        )
        values ($1, $2, 1, 0, 0, 0, 0, 0, 0, $3, $4, false)
        on conflict (import_id) do update
        set stream = import.stream + 1
        returning all_or_nothing, stream, last_row_number, rows_written, items_written, rows_refused, total_amount,
            total_discount, content_hash, is_complete
        "#,
        import_id,
        all_or_nothing,
        ContentHash::START.as_bytes().as_slice(),
        Utc::now(),
    )
    .fetch_one(connection)
    .await?;
    let content_hash = ContentHash::from_slice(&row.content_hash);
    let progress = Progress {
        last_row_number: row.last_row_number,
        rows_written: row.rows_written,
        items_written: row.items_written,
        rows_refused: row.rows_refused,
        total_amount: row.total_amount,
        total_discount: row.total_discount,
        content_hash: content_hash.expect("a check of the table fixes the length"),
    };
    Ok(StoredImport { all_or_nothing: row.all_or_nothing, stream: row.stream, progress, is_complete: row.is_complete })
}

/// Moves an import on from the row that this stream knows as its last. `false` when it does not stand there any more, or
/// another stream has taken it over: then nothing was moved, and nothing may be committed.
pub async fn move_on(
    connection: &mut PgConnection,
    import_id: Uuid,
    stream: i64,
    from: i64,
    to: &Progress,
    is_complete: bool,
) -> Result<bool, StoreError> {
    let moved = sqlx::query!(
        "
        update tandem.import
        set last_row_number = $4,
            rows_written = $5,
            items_written = $6,
            rows_refused = $7,
            total_amount = $8,
            total_discount = $9,
            content_hash = $10,
            moved_at = $11,
            is_complete = $12
        where import_id = $1 and stream = $2 and last_row_number = $3 and not is_complete
        ",
        import_id,
        stream,
        from,
        to.last_row_number,
        to.rows_written,
        to.items_written,
        to.rows_refused,
        to.total_amount,
        to.total_discount,
        to.content_hash.as_bytes().as_slice(),
        Utc::now(),
        is_complete,
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Whether the import still belongs to this stream.
pub async fn is_ours(connection: &mut PgConnection, import_id: Uuid, stream: i64) -> Result<bool, StoreError> {
    let ours = sqlx::query_scalar!(
        r#"select exists (select from tandem.import where import_id = $1 and stream = $2) as "ours!""#,
        import_id,
        stream,
    );
    Ok(ours.fetch_one(connection).await?)
}

/// Keeps a position behind a complete import, unless one is kept already, and gives the one that is kept.
pub async fn keep_position(
    connection: &mut PgConnection,
    import_id: Uuid,
    position: Position,
) -> Result<Option<Position>, StoreError> {
    let row = sqlx::query!(
        r#"
        update tandem.import
        set system_identifier = coalesce(system_identifier, $2),
            timeline = coalesce(timeline, $3),
            lsn = coalesce(lsn, $4)
        where import_id = $1
        returning system_identifier as "system_identifier!", timeline as "timeline!", lsn as "lsn!: Lsn"
        "#,
        import_id,
        position.identity.system_identifier,
        position.identity.timeline,
        position.lsn as Lsn,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Position {
        identity: SystemIdentity { system_identifier: row.system_identifier, timeline: row.timeline },
        lsn: row.lsn,
    }))
}

/// Keeps refused rows.
pub async fn keep_refusals(
    connection: &mut PgConnection,
    import_id: Uuid,
    refused: &[Refusal],
) -> Result<(), StoreError> {
    if refused.is_empty() {
        return Ok(());
    }
    let row_numbers: Vec<_> = refused.iter().map(|refusal| refusal.row_number).collect();
    let reasons: Vec<_> = refused.iter().map(|refusal| refusal.reason.to_string()).collect();
    let violations: Vec<_> = refused.iter().map(|refusal| Json(&refusal.fields)).collect();
    sqlx::query!(
        "
        insert into tandem.import_refusal (import_id, row_number, reason, violations)
        select $1, row_number, reason, violations
        from unnest($2::bigint[], $3::text[], $4::json[]) as refusal (row_number, reason, violations)
        ",
        import_id,
        &row_numbers,
        &reasons,
        &violations as &[Json<&Vec<RefusedField>>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The refused rows behind one, in their order; there is a limit to how many an import can have.
pub async fn refusals_behind(
    connection: &mut PgConnection,
    import_id: Uuid,
    row_number: i64,
) -> Result<Vec<Refusal>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select row_number, reason, violations as "violations: Json<Vec<RefusedField>>"
        from tandem.import_refusal
        where import_id = $1 and row_number > $2
        order by row_number
        "#,
        import_id,
        row_number,
    )
    .fetch_all(connection)
    .await?;
    let refusals = rows.into_iter().map(|row| Refusal {
        row_number: row.row_number,
        reason: row.reason.into(),
        fields: row.violations.0,
    });
    Ok(refusals.collect())
}

/// Removes some of the imports that were not moved on since `before`, and says how many.
pub async fn remove_older_imports(connection: &mut PgConnection, before: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "
        delete from tandem.import
        where import_id = any(array(select import_id from tandem.import where moved_at < $1 limit $2))
        ",
        before,
        REMOVED_AT_ONCE,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}
