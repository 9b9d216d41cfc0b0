//! Replication slots.

use serde::Serialize;
use sqlx::PgConnection;

use crate::{Lsn, PGOUTPUT};

/// How the names of slots begin that a verifier makes for its fence.
pub const VERIFIER_PREFIX: &str = "tandem_verify_";

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

/// What a slot is there for, as far as its name and its plugin tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotPurpose {
    /// A subscription reads its changes from it.
    Subscription,
    /// A subscription copies one table with it, and drops it when the table is ready.
    TableCopy,
    /// A verifier fences its comparison with it.
    Verification,
    /// None of these: some other reader of changes.
    Other,
}

impl Slot {
    /// The logical slot of this name; `None` where there is none.
    pub async fn find(connection: &mut PgConnection, name: &str) -> Result<Option<Self>, sqlx::Error> {
        Ok(Self::all(connection).await?.into_iter().find(|slot| slot.name == name))
    }

    /// Every logical slot of the server, also those of other databases, in the order of their names.
    pub async fn all(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
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
            where slot_type = 'logical'
            order by slot_name
            "#
        )
        .fetch_all(connection)
        .await
    }

    /// Whether a replica reads from it, or did: the permanent slot of a subscription to this database. Whose
    /// subscription it is only its name tells.
    pub fn is_of_replica(&self, database: &str) -> bool {
        self.purpose() == SlotPurpose::Subscription && !self.temporary && self.database.as_deref() == Some(database)
    }

    /// What it is there for.
    pub fn purpose(&self) -> SlotPurpose {
        if self.name.starts_with(VERIFIER_PREFIX) {
            SlotPurpose::Verification
        } else if self.plugin.as_deref() != Some(PGOUTPUT) {
            SlotPurpose::Other
        } else if copies_a_table(&self.name) {
            SlotPurpose::TableCopy
        } else {
            SlotPurpose::Subscription
        }
    }

    /// Whether nobody reads from it and nobody is known who will: it keeps WAL for no one. `known` are the names of slots
    /// whose readers are watched elsewhere. A temporary slot goes with its session, and so is never left behind.
    pub fn is_orphan(&self, known: &[String]) -> bool {
        !self.active && !self.temporary && !known.contains(&self.name)
    }

    /// Whether WAL that its reader still needs is gone for good.
    pub fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost")
    }
}

/// `pg_SUBSCRIPTION_sync_TABLE_SYSTEM`, all three numbers, as PostgreSQL names them.
fn copies_a_table(name: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = name.split('_').collect();
    matches!(parts[..], ["pg", subscription, "sync", table, system]
        if digits(subscription) && digits(table) && digits(system))
}

/// How much WAL the server keeps for a slot at most (`max_slot_wal_keep_size`), in bytes; `None`: any amount, until its
/// disk is full.
pub async fn slot_wal_limit(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    let setting = sqlx::query_scalar!(r#"select pg_size_bytes(current_setting('max_slot_wal_keep_size')) as "bytes!""#)
        .fetch_one(connection)
        .await?;
    Ok((setting >= 0).then_some(setting))
}

#[cfg(test)]
mod tests {
    use super::{Slot, SlotPurpose};

    fn slot(name: &str) -> Slot {
        Slot {
            name: name.to_owned(),
            database: Some("tandem".to_owned()),
            plugin: Some("pgoutput".to_owned()),
            temporary: false,
            active: false,
            active_pid: None,
            wal_status: Some("reserved".to_owned()),
            restart_lsn: None,
            confirmed_flush_lsn: None,
            retained_wal_bytes: 0,
            safe_wal_bytes: None,
        }
    }

    #[test]
    fn a_name_and_a_plugin_tell_what_a_slot_is_for() {
        for (name, purpose) in [
            ("tandem_subscription_2", SlotPurpose::Subscription),
            ("pg_16500_sync_16400_7710472029013514094", SlotPurpose::TableCopy),
            ("pg_sync", SlotPurpose::Subscription),
            ("tandem_verify_17", SlotPurpose::Verification),
        ] {
            assert_eq!(slot(name).purpose(), purpose, "{name}");
        }
        assert_eq!(Slot { plugin: Some("test_decoding".to_owned()), ..slot("a") }.purpose(), SlotPurpose::Other);
        assert!(slot("shop").is_of_replica("tandem") && !slot("shop").is_of_replica("other"));
    }

    #[test]
    fn a_slot_is_an_orphan_when_nobody_reads_it_and_nobody_is_known_to() {
        let known = ["shop".to_owned()];
        assert!(slot("tandem_verify_17").is_orphan(&known));
        assert!(!slot("shop").is_orphan(&known));
        assert!(!Slot { active: true, ..slot("relay") }.is_orphan(&known));
        assert!(!Slot { temporary: true, ..slot("session") }.is_orphan(&known));
    }
}
