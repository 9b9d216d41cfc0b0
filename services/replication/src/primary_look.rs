//! What a primary says of replication at one moment.

use sqlx::PgConnection;

use crate::{
    Lsn, PUBLICATION, Position, Publication, Slot,
    drift::{self, PrimaryColumn},
    slot_wal_limit,
};

/// What a primary says. Everything here is open to a role that may only connect.
#[derive(Clone, Debug)]
pub struct PrimaryLook {
    /// Where it writes.
    pub position: Position,
    /// Up to where its WAL is safe on disk, which is what replicas are sent.
    pub flushed: Lsn,
    /// What it publishes.
    pub publication: Option<Publication>,
    /// The columns of the published tables.
    pub columns: Vec<PrimaryColumn>,
    /// Every logical slot, in the order of their names.
    pub slots: Vec<Slot>,
    /// How much WAL is kept for a slot at most; `None`: any amount.
    pub slot_wal_limit: Option<i64>,
    /// The name of the database.
    pub database: String,
}

impl PrimaryLook {
    /// Looks now.
    pub async fn now(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        Ok(Self {
            flushed: Position::flushed(&mut *connection).await?,
            position: Position::current(&mut *connection).await?,
            publication: Publication::find(&mut *connection, PUBLICATION).await?,
            columns: drift::published_columns(&mut *connection, PUBLICATION).await?,
            slots: Slot::all(&mut *connection).await?,
            slot_wal_limit: slot_wal_limit(&mut *connection).await?,
            database: sqlx::query_scalar!(r#"select current_database()::text as "name!""#)
                .fetch_one(connection)
                .await?,
        })
    }

    /// The slot of this name; `None` where there is none.
    pub fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.name == name)
    }

    /// The slots of all replicas of this database, in the order of their names.
    pub fn replicas(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.is_of_replica(&self.database))
    }

    /// The published tables, as schema.table.
    pub fn tables(&self) -> Vec<String> {
        let published = self.publication.iter().flat_map(|publication| &publication.tables);
        published.map(|table| format!("{}.{}", table.schema, table.name)).collect()
    }
}
