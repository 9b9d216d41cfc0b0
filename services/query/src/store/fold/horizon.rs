//! Up to where the rollups hold what sales look like.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// With more sales than these behind the rollups' horizon, answers are made from the sales themselves: adding what has
/// changed costs about 10 µs a sale.
pub const MAX_CHANGED: i64 = 10_000;

/// The state of a generation of rollups, as a snapshot sees it. Ids of transactions are those of `txid_current()`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Horizon {
    /// Which generation.
    pub generation: i32,
    /// What was applied before this is in the rollups.
    pub folded_xid: i64,
    /// Of sales up to [`sweep_id`](Self::sweep_id), what was applied before this is.
    pub sweep_xid: i64,
    /// How far a sweep has come; `None` while none runs.
    pub sweep_id: Option<Uuid>,
}

impl Horizon {
    /// Of the generation that queries read; `None` while it holds nothing yet, and where its ids are of another cluster.
    pub async fn current(connection: &mut PgConnection) -> Result<Option<Self>, sqlx::Error> {
        sqlx::query_as!(
            Self,
            "
            select generation, folded_xid, sweep_xid, sweep_id
            from tandem.fold
            where is_current
                and (folded_xid > 0 or sweep_id is not null)
                and system_identifier = (select system_identifier from pg_catalog.pg_control_system())
            "
        )
        .fetch_optional(connection)
        .await
    }

    /// The sales that look different now; `None` when there are more than `most`.
    pub async fn changed(&self, connection: &mut PgConnection, most: i64) -> Result<Option<Vec<Uuid>>, sqlx::Error> {
        let changed = sqlx::query_scalar!(
            r#"select tandem.changed_sales($1, $2, $3, $4) as "changed!""#,
            self.folded_xid,
            self.sweep_xid,
            self.sweep_id,
            most + 1,
        )
        .fetch_one(connection)
        .await?;
        Ok(i64::try_from(changed.len()).is_ok_and(|found| found <= most).then_some(changed))
    }
}

/// How far the rollups are behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backlog {
    /// Sales that look different now, but no more than one more than was asked for.
    pub sales: i64,
    /// Whether a sweep is under way.
    pub is_sweeping: bool,
    /// When a step was last taken.
    pub folded_at: DateTime<Utc>,
}

impl Backlog {
    /// Of the generation that queries read; counts up to `most` sales and says one more where there are more.
    pub async fn current(connection: &mut PgConnection, most: i64) -> Result<Self, sqlx::Error> {
        sqlx::query_as!(
            Self,
            r#"
            select
                cardinality(tandem.changed_sales(folded_xid, sweep_xid, sweep_id, $1))::bigint as "sales!",
                sweep_id is not null as "is_sweeping!",
                folded_at
            from tandem.fold
            where is_current
            "#,
            most + 1,
        )
        .fetch_one(connection)
        .await
    }
}
