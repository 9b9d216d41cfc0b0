//! Replication slots.

use serde::Serialize;
use sqlx::PgConnection;

use crate::Lsn;

/// A logical slot on a primary.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Slot {
    /// Its name: that of the subscription.
    pub name: String,
    /// The database whose changes it decodes.
    pub database: Option<String>,
    /// The output plugin that decodes them.
    pub plugin: Option<String>,
    /// Whether it goes with the session that made it.
    pub temporary: bool,
    /// Whether a walsender serves it now.
    pub active: bool,
    /// The process that serves it.
    pub active_pid: Option<i32>,
    /// `reserved`, `extended`, `unreserved` or `lost`; `None` for a slot that never reserved WAL.
    pub wal_status: Option<String>,
    /// From here on WAL is kept.
    pub restart_lsn: Option<Lsn>,
    /// Up to here the subscriber has confirmed.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// Bytes of WAL that are kept for it.
    pub retained_wal_bytes: i64,
    /// Bytes of WAL that can still be written before it is in danger; `None`: no limit is set, or it is lost.
    pub safe_wal_bytes: Option<i64>,
}

impl Slot {
    /// The logical slot of this name; `None` where there is none.
    pub async fn find(connection: &mut PgConnection, name: &str) -> Result<Option<Self>, sqlx::Error> {
        sqlx::query_as!(
            Self,
            r#"
            select
                slot_name::text as "name!",
                database::text,
                plugin::text,
                temporary as "temporary!",
                active as "active!",
                active_pid,
                wal_status,
                restart_lsn as "restart_lsn: Lsn",
                confirmed_flush_lsn as "confirmed_flush_lsn: Lsn",
                coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint as "retained_wal_bytes!",
                safe_wal_size as safe_wal_bytes
            from pg_catalog.pg_replication_slots
            where slot_name = $1::text and slot_type = 'logical'
            "#,
            name
        )
        .fetch_optional(connection)
        .await
    }

    /// The slots of all replicas: those from which subscriptions to this database read, in the order of their names.
    /// Whose subscriptions they are only their names tell. Slots with which a subscription copies its tables are not
    /// among them, nor are those of a session, which a verifier may have.
    pub async fn of_replicas(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        sqlx::query_as!(
            Self,
            r#"
            select
                slot_name::text as "name!",
                database::text,
                plugin::text,
                temporary as "temporary!",
                active as "active!",
                active_pid,
                wal_status,
                restart_lsn as "restart_lsn: Lsn",
                confirmed_flush_lsn as "confirmed_flush_lsn: Lsn",
                coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint as "retained_wal_bytes!",
                safe_wal_size as safe_wal_bytes
            from pg_catalog.pg_replication_slots
            where slot_type = 'logical' and plugin = 'pgoutput' and not temporary
                and database = current_database() and slot_name !~ '^pg_[0-9]+_sync_[0-9]+_'
            order by slot_name
            "#
        )
        .fetch_all(connection)
        .await
    }
}
