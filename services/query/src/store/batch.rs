//! Batches, as view `tandem.batch_replication` of the replica has them.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tandem_replication::{Lsn, Position, SystemIdentity};

use crate::domain::{Batch, BatchHealth, BatchPage, BatchStatus, BatchTable};

/// One table of a batch.
struct Row {
    batch_id: String,
    table: String,
    status: String,
    health: String,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    lsn: Option<Lsn>,
    system_identifier: Option<i64>,
    timeline: Option<i32>,
    row_count: Option<i64>,
    error: Option<String>,
}

/// The batches of a page, those that began last first; one more than asked for, where there is one.
pub async fn page(
    connection: &mut PgConnection,
    BatchPage { size, after }: &BatchPage,
) -> Result<Vec<Batch>, sqlx::Error> {
    // A batch is found by that of its tables which was begun first.
    let batch_ids = sqlx::query_scalar!(
        "
        select batch.batch_id
        from tandem.batch_control as batch
        where ($1::timestamptz is null or (batch.started_at, batch.batch_id) < ($1, $2::text))
            and not exists (
                select
                from tandem.batch_control as earlier
                where earlier.batch_id = batch.batch_id
                    and (earlier.started_at, earlier.schema_name, earlier.table_name)
                        < (batch.started_at, batch.schema_name, batch.table_name)
            )
        order by batch.started_at desc, batch.batch_id desc
        limit $3
        ",
        after.as_ref().map(|after| after.started_at),
        after.as_ref().map(|after| &after.batch_id),
        i64::from(*size) + 1,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut batches = of(connection, &batch_ids).await?;
    // The order is the database's: how it compares texts is its own.
    batches.sort_by_key(|batch| batch_ids.iter().position(|batch_id| *batch_id == batch.batch_id));
    Ok(batches)
}

/// Those of these batches that there are, by their ids.
pub async fn of(connection: &mut PgConnection, batch_ids: &[String]) -> Result<Vec<Batch>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
            batch_id as "batch_id!",
            schema_name || '.' || table_name as "table!",
            status as "status!",
            health as "health!",
            started_at as "started_at!",
            ended_at,
            batch_lsn as "lsn: Lsn",
            system_identifier,
            timeline,
            row_count,
            error
        from tandem.batch_replication
        where batch_id = any($1)
        order by batch_id, schema_name, table_name
        "#,
        batch_ids,
    )
    .fetch_all(connection)
    .await?;
    let mut batches: Vec<Batch> = Vec::new();
    for row in rows {
        let (batch_id, started_at) = (row.batch_id.clone(), row.started_at);
        let table = row.into_table()?;
        match batches.last_mut() {
            Some(batch) if batch.batch_id == batch_id => {
                batch.started_at = batch.started_at.min(started_at);
                batch.tables.push(table);
            }
            _ => batches.push(Batch { batch_id, started_at, tables: vec![table] }),
        }
    }
    Ok(batches)
}

impl Row {
    fn into_table(self) -> Result<BatchTable, sqlx::Error> {
        let status = match &*self.status {
            "IN_PROGRESS" => BatchStatus::InProgress,
            "COMPLETED" => BatchStatus::Completed,
            "FAILED" => BatchStatus::Failed,
            other => return Err(unknown("status", other)),
        };
        let health = match &*self.health {
            "READY" => BatchHealth::Ready,
            "REPLICATING" => BatchHealth::Replicating,
            "SLOW" => BatchHealth::Slow,
            "STUCK" => BatchHealth::Stuck,
            other => return Err(unknown("health", other)),
        };
        let identity = self.system_identifier.zip(self.timeline);
        let position = self.lsn.zip(identity).map(|(lsn, (system_identifier, timeline))| Position {
            identity: SystemIdentity { system_identifier, timeline },
            lsn,
        });
        Ok(BatchTable {
            name: self.table,
            status,
            health,
            started_at: self.started_at,
            ended_at: self.ended_at,
            position,
            row_count: self.row_count,
            error: self.error,
        })
    }
}

/// The primary's check lets no other status in, and the view makes no other health.
fn unknown(what: &str, found: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("a batch has the {what} {found:?}").into())
}
