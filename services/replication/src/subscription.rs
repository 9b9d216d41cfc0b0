//! What a replica subscribes to, and how far it has applied.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::Lsn;

/// The subscription that the replica's migration creates; its slot on the primary has the same name.
pub const SUBSCRIPTION: &str = "tandem_subscription";

/// A subscription, its tables and its progress.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Subscription {
    /// Its name.
    pub name: String,
    /// Whether it is switched on.
    pub enabled: bool,
    /// The publications that it follows.
    pub publications: Vec<String>,
    /// Errors of the apply worker since statistics were reset.
    pub apply_errors: i64,
    /// Errors of the workers that copy tables since statistics were reset.
    pub sync_errors: i64,
    /// Rows that did not fit in, since statistics were reset. Only PostgreSQL 18 and newer count them.
    pub conflicts: Vec<ConflictCount>,
    /// In order of their names.
    pub tables: Vec<SubscribedTable>,
    /// How far the apply worker has come.
    pub progress: ApplyProgress,
}

/// How often rows did not fit in, in one way.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ConflictCount {
    /// As PostgreSQL names it: `insert_exists`, `update_missing`, ….
    pub kind: String,
    /// How often. Of these, `insert_exists`, `update_exists` and `multiple_unique_conflicts` stop the apply worker.
    pub count: i64,
}

impl ConflictCount {
    /// The counters of this subscription, in the order of their names; none before PostgreSQL 18.
    pub async fn of(connection: &mut PgConnection, subscription: &str) -> Result<Vec<Self>, sqlx::Error> {
        // The columns differ between versions: as JSON, those that are there can be asked for.
        sqlx::query_as!(
            Self,
            r#"
            select substr(counter.key, 7) as "kind!", counter.value::bigint as "count!"
            from pg_catalog.pg_stat_subscription_stats as stats
            cross join lateral jsonb_each_text(to_jsonb(stats)) as counter
            where stats.subname = $1::text and counter.key like 'confl\_%'
            order by 1
            "#,
            subscription
        )
        .fetch_all(connection)
        .await
    }
}

/// A table that a subscription fills.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SubscribedTable {
    /// schema.table.
    pub name: String,
    /// Where it stands.
    pub state: TableState,
}

/// `pg_subscription_rel.srsubstate`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// `i`: not started.
    Initializing,
    /// `d`: its rows are being copied.
    Copying,
    /// `f` or `s`: copied, catching up with the stream.
    CatchingUp,
    /// `r`: in the stream.
    Ready,
    /// A state that this build does not know.
    Unknown,
}

impl TableState {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "not started",
            Self::Copying => "being copied",
            Self::CatchingUp => "catching up",
            Self::Ready => "ready",
            Self::Unknown => "in an unknown state",
        }
    }
}

impl From<i8> for TableState {
    fn from(state: i8) -> Self {
        match u8::try_from(state) {
            Ok(b'i') => Self::Initializing,
            Ok(b'd') => Self::Copying,
            Ok(b'f' | b's') => Self::CatchingUp,
            Ok(b'r') => Self::Ready,
            _ => Self::Unknown,
        }
    }
}

/// What the apply worker says of itself in `pg_stat_subscription`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct ApplyProgress {
    /// Whether it runs.
    pub running: bool,
    /// The last position received.
    pub received_lsn: Option<Lsn>,
    /// Everything before this is visible. `pg_replication_origin_progress` is no substitute: it advances before the
    /// rows are visible.
    pub applied_lsn: Option<Lsn>,
    /// When the primary sent what `applied_lsn` says, by the primary's clock.
    pub applied_at: Option<DateTime<Utc>>,
    /// When the last message was received, by the replica's clock.
    pub last_message_at: Option<DateTime<Utc>>,
}

impl Subscription {
    /// The subscription of this name; `None` where there is none.
    pub async fn find(connection: &mut PgConnection, name: &str) -> Result<Option<Self>, sqlx::Error> {
        let head = sqlx::query!(
            r#"
            select
                subscription.subenabled as "enabled!",
                subscription.subpublications as "publications!",
                coalesce(stats.apply_error_count, 0) as "apply_errors!",
                coalesce(stats.sync_error_count, 0) as "sync_errors!"
            from pg_catalog.pg_subscription as subscription
            left join pg_catalog.pg_stat_subscription_stats as stats on stats.subid = subscription.oid
            where subscription.subname = $1::text
                and subscription.subdbid = (select oid from pg_catalog.pg_database where datname = current_database())
            "#,
            name
        )
        .fetch_optional(&mut *connection)
        .await?;
        let Some(head) = head else { return Ok(None) };
        Ok(Some(Self {
            name: name.to_owned(),
            enabled: head.enabled,
            publications: head.publications,
            apply_errors: head.apply_errors,
            sync_errors: head.sync_errors,
            conflicts: ConflictCount::of(&mut *connection, name).await?,
            tables: SubscribedTable::of(&mut *connection, name).await?,
            progress: ApplyProgress::of(connection, name).await?,
        }))
    }
}

impl SubscribedTable {
    /// The tables of the subscription of this name.
    pub async fn of(connection: &mut PgConnection, subscription: &str) -> Result<Vec<Self>, sqlx::Error> {
        let rows = sqlx::query!(
            r#"
            select
                format('%s.%s', namespace.nspname, class.relname) as "name!",
                relation.srsubstate as state
            from pg_catalog.pg_subscription_rel as relation
            join pg_catalog.pg_subscription as subscription on subscription.oid = relation.srsubid
            join pg_catalog.pg_class as class on class.oid = relation.srrelid
            join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
            where subscription.subname = $1::text
            order by 1
            "#,
            subscription
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(|row| Self { name: row.name, state: row.state.into() }).collect())
    }
}

impl ApplyProgress {
    /// What the apply worker of this subscription says; all empty while none runs.
    pub async fn of(connection: &mut PgConnection, subscription: &str) -> Result<Self, sqlx::Error> {
        let row = sqlx::query!(
            r#"
            select
                pid is not null as "running!",
                received_lsn as "received_lsn: Lsn",
                latest_end_lsn as "applied_lsn: Lsn",
                latest_end_time as applied_at,
                last_msg_receipt_time as last_message_at
            from pg_catalog.pg_stat_subscription
            where subname = $1::text and relid is null
            order by pid is not null desc, latest_end_lsn desc nulls last
            limit 1
            "#,
            subscription
        )
        .fetch_optional(connection)
        .await?;
        Ok(row.map_or_else(Self::default, |row| Self {
            running: row.running,
            received_lsn: row.received_lsn,
            applied_lsn: row.applied_lsn,
            applied_at: row.applied_at,
            last_message_at: row.last_message_at,
        }))
    }
}
