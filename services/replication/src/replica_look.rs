//! What a replica says of its subscription at one moment.

use sqlx::PgConnection;

use crate::{
    Lsn, PrimaryLook, Subscription, TableState, Watermark,
    drift::{self, Drift, ReplicaColumn},
};

/// What a replica says.
#[derive(Clone, Debug)]
pub struct ReplicaLook {
    /// Its subscription; `None` where there is none of that name.
    pub subscription: Option<Subscription>,
    /// The newest watermark that is visible.
    pub watermark: Option<Watermark>,
    /// What the subscribed tables take on disk, less those that somebody has locked against all. A large transaction is applied
    /// as one message, at whose end alone anything else moves; meanwhile they grow.
    pub table_bytes: i64,
    /// The columns of the published and subscribed tables.
    pub columns: Vec<ReplicaColumn>,
}

impl ReplicaLook {
    /// Looks now. `tables` (schema.table) are what the primary publishes, as far as that is known.
    pub async fn now(
        connection: &mut PgConnection,
        subscription: &str,
        tables: &[String],
    ) -> Result<Self, sqlx::Error> {
        Ok(Self {
            subscription: Subscription::find(&mut *connection, subscription).await?,
            watermark: Watermark::newest(&mut *connection).await?,
            table_bytes: table_bytes(&mut *connection, subscription).await?,
            columns: drift::replica_columns(connection, subscription, tables).await?,
        })
    }

    /// Everything before this is visible in the tables that are ready; `None` before anything has come.
    pub fn position(&self) -> Option<Lsn> {
        let applied = self.subscription.as_ref().and_then(|subscription| subscription.progress.applied_lsn);
        applied.into_iter().chain(self.watermark.map(|watermark| watermark.position.lsn)).max()
    }

    /// Subscribed tables that are not ready yet.
    pub fn tables_copying(&self) -> usize {
        let tables = self.subscription.iter().flat_map(|subscription| &subscription.tables);
        tables.filter(|table| table.state != TableState::Ready).count()
    }

    /// Where the tables have grown apart.
    pub fn drifts(&self, primary: &PrimaryLook) -> Vec<Drift> {
        let tables = self.subscription.iter().flat_map(|subscription| &subscription.tables);
        let subscribed: Vec<String> = tables.map(|table| table.name.clone()).collect();
        drift::drifts(&primary.columns, &self.columns, &subscribed)
    }
}

/// To ask for a table's size waits for whoever has locked it against all, so those are left out.
async fn table_bytes(connection: &mut PgConnection, subscription: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select coalesce(
            sum(
                case when not exists (
                    select from pg_catalog.pg_locks as held
                    where held.relation = subscribed.srrelid and held.mode = 'AccessExclusiveLock'
                ) then pg_catalog.pg_total_relation_size(subscribed.srrelid) end
            ),
            0
        )::bigint as "bytes!"
        from pg_catalog.pg_subscription as subscription
        join pg_catalog.pg_subscription_rel as subscribed on subscribed.srsubid = subscription.oid
        where subscription.subname = $1::text
            and subscription.subdbid = (
                select oid from pg_catalog.pg_database where datname = current_database()
            )
        "#,
        subscription
    )
    .fetch_one(connection)
    .await
}
