//! Table `tandem.promotion`: how a database became the primary.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use tandem_replication::Lsn;

/// Kept in the database transaction that makes the primary.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Record {
    /// Of the new primary: its tokens carry it, and those of the old one are refused by name.
    pub system_identifier: i64,
    /// Of the old one.
    pub from_system_identifier: i64,
    /// Its timeline.
    pub from_timeline: i32,
    /// Behind every commit of the old primary; read after its writers were locked out.
    pub drained_lsn: Lsn,
    /// How far the replica had applied, when it was compared.
    pub applied_lsn: Lsn,
    /// Rows that were compared after that, and found equal.
    pub rows_compared: i64,
    /// Rows that no replica has, which were copied.
    pub rows_carried: i64,
    /// Nobody could write from here …
    pub fenced_at: DateTime<Utc>,
    /// … to here, by the old primary's clock.
    pub promoted_at: DateTime<Utc>,
}

impl Record {
    /// What this database says of how it took the place of the primary with this identifier; `None`: it has not.
    pub(super) async fn find(
        connection: &mut PgConnection,
        from_system_identifier: i64,
    ) -> Result<Option<Self>, sqlx::Error> {
        let there = sqlx::query_scalar("select to_regclass('tandem.promotion') is not null");
        if !there.fetch_one(&mut *connection).await? {
            return Ok(None);
        }
        sqlx::query_as(
            "select system_identifier, from_system_identifier, from_timeline, drained_lsn, applied_lsn, rows_compared,
                rows_carried, fenced_at, promoted_at
            from tandem.promotion
            where from_system_identifier = $1 and system_identifier = (select system_identifier from pg_control_system())",
        )
        .bind(from_system_identifier)
        .fetch_optional(connection)
        .await
    }

    pub(super) async fn keep(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into tandem.promotion (
                system_identifier, from_system_identifier, from_timeline, drained_lsn, applied_lsn, rows_compared,
                rows_carried, fenced_at, promoted_at
            )
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(self.system_identifier)
        .bind(self.from_system_identifier)
        .bind(self.from_timeline)
        .bind(self.drained_lsn)
        .bind(self.applied_lsn)
        .bind(self.rows_compared)
        .bind(self.rows_carried)
        .bind(self.fenced_at)
        .bind(self.promoted_at)
        .execute(connection)
        .await
        .map(drop)
    }

    /// For how long nobody could write, in seconds.
    #[must_use]
    pub fn seconds_without_writes(&self) -> f64 {
        let elapsed = (self.promoted_at - self.fenced_at).to_std().unwrap_or_default();
        elapsed.as_secs_f64()
    }
}
