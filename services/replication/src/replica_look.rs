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
