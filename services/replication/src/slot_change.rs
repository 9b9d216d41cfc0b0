//! Making and dropping slots by hand.

use sqlx::PgConnection;

use crate::{Lsn, Slot};

/// The output plugin of PostgreSQL's own logical replication, which is always there.
pub const PGOUTPUT: &str = "pgoutput";

/// Why a slot was not made or dropped.
#[derive(Debug, thiserror::Error)]
pub enum SlotChangeError {
    /// The server refused, or can't be asked.
    #[error("can't {what} slot {slot}")]
    Server {
        /// `create` or `drop`.
        what: &'static str,
        /// Its name.
        slot: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// There is one already.
    #[error("slot {slot} is there already: choose another name, or drop it first")]
    Exists {
        /// Its name.
        slot: String,
    },
    /// There is none.
    #[error("there is no logical slot {slot}: `slots list` shows those that there are")]
    Unknown {
        /// Its name.
        slot: String,
    },
    /// Somebody reads from it now.
    #[error("slot {slot} is read from now, by process {pid} of the primary: stop its reader first")]
    InUse {
        /// Its name.
        slot: String,
        /// The walsender, or the session that made a temporary slot.
        pid: i32,
    },
    /// A replica reads from it, though not at this moment.
    #[error(
        "slot {slot} is that of a replica, which would have to be built anew without it: drop the replica's subscription \
         first, which drops the slot, too"
    )]
    OfReplica {
        /// Its name.
        slot: String,
    },
}

impl Slot {
    /// Makes a logical slot; says from where on it has the changes. From then on the primary keeps WAL for it, whether
    /// anybody reads it or not.
    pub async fn create(
        connection: &mut PgConnection,
        name: &str,
        plugin: &str,
    ) -> Result<Option<Lsn>, SlotChangeError> {
        let failed = |source| SlotChangeError::Server { what: "create", slot: name.to_owned(), source };
        if Self::find(&mut *connection, name).await.map_err(failed)?.is_some() {
            return Err(SlotChangeError::Exists { slot: name.to_owned() });
        }
        Self::make(connection, name, plugin).await.map_err(failed)
    }

    /// The same, for who knows that there is none of this name.
    pub async fn make(connection: &mut PgConnection, name: &str, plugin: &str) -> Result<Option<Lsn>, sqlx::Error> {
        sqlx::query_scalar!(
            r#"select lsn as "lsn: Lsn" from pg_create_logical_replication_slot($1::text::name, $2::text::name)"#,
            name,
            plugin,
        )
        .fetch_one(connection)
        .await
    }

    /// The slot of this name, if it may be dropped: it is there, nobody reads from it, and it is not one of
    /// `replicas`, unless it is lost.
    pub async fn droppable(
        connection: &mut PgConnection,
        name: &str,
        replicas: &[String],
    ) -> Result<Self, SlotChangeError> {
        let found = Self::find(connection, name).await;
        let found = found.map_err(|source| SlotChangeError::Server { what: "drop", slot: name.to_owned(), source })?;
        let slot = found.ok_or_else(|| SlotChangeError::Unknown { slot: name.to_owned() })?;
        if let (true, Some(pid)) = (slot.active, slot.active_pid) {
            return Err(SlotChangeError::InUse { slot: slot.name, pid });
        }
        // A lost one is of no use to its replica either.
        if replicas.contains(&slot.name) && !slot.is_lost() {
            return Err(SlotChangeError::OfReplica { slot: slot.name });
        }
        Ok(slot)
    }

    /// Drops it. The server refuses while somebody reads from it.
    pub async fn drop(self, connection: &mut PgConnection) -> Result<(), SlotChangeError> {
        sqlx::query!("select pg_drop_replication_slot($1::text::name)", self.name)
            .execute(connection)
            .await
            .map(drop)
            .map_err(|source| SlotChangeError::Server { what: "drop", slot: self.name, source })
    }
}
