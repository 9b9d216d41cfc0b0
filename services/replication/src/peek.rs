//! The changes that wait in a slot, read without taking them out.

use chrono::{DateTime, SecondsFormat, Utc};
use futures::TryStreamExt as _;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use sqlx::PgConnection;

use crate::{
    Lsn, PUBLICATION,
    pgoutput::{Cell, DecodeError, Message, Relation, Relations, Row, kept},
};

/// A change that waits in a slot. As JSON: values as PostgreSQL writes them as text, by column.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Change {
    /// Where in the WAL it stands.
    pub lsn: Lsn,
    /// The transaction's id.
    pub xid: u32,
    /// When the transaction committed.
    #[serde(serialize_with = "as_text")]
    pub committed_at: DateTime<Utc>,
    /// Where the transaction's COMMIT stands.
    pub commit_lsn: Lsn,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened to a table.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum What {
    /// A row came.
    Insert {
        /// schema.table.
        table: String,
        /// The row's key.
        key: Map<String, Json>,
        /// The row.
        new: Map<String, Json>,
    },
    /// A row changed.
    Update {
        /// schema.table.
        table: String,
        /// The row's key.
        key: Map<String, Json>,
        /// The old key, where it changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        old: Option<Map<String, Json>>,
        /// What it is now, without large values that were left as they were.
        new: Map<String, Json>,
    },
    /// A row went.
    Delete {
        /// schema.table.
        table: String,
        /// The row's key.
        key: Map<String, Json>,
    },
    /// Tables were emptied.
    Truncate {
        /// schema.table each.
        tables: Vec<String>,
    },
}

fn as_text<S: serde::Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// So many messages a change has at most.
const MESSAGES_OF_A_CHANGE: u32 = 4;

/// Why a slot can't be looked into.
#[derive(Debug, thiserror::Error)]
pub enum PeekError {
    /// Its reader reads from it now.
    #[error("slot {slot} is read from now, and one reader at a time can: make a slot of your own with `slots create`")]
    InUse {
        /// Its name.
        slot: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// There is none.
    #[error("there is no logical slot {slot}: `slots list` shows those that there are")]
    Unknown {
        /// Its name.
        slot: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The server refused, or can't be asked.
    #[error("can't look into slot {slot}")]
    Server {
        /// Its name.
        slot: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// What it said is no pgoutput.
    #[error("what slot {slot} holds can't be read")]
    Decode {
        /// Its name.
        slot: String,
        /// What is wrong with it.
        source: DecodeError,
    },
}

impl PeekError {
    fn of_server(slot: &str, source: sqlx::Error) -> Self {
        let code = source.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
        let slot = slot.to_owned();
        match code.as_str() {
            // object_in_use, undefined_object
            "55006" => Self::InUse { slot, source },
            "42704" => Self::Unknown { slot, source },
            _ => Self::Server { slot, source },
        }
    }
}

/// Up to `limit` of the first changes that wait in a slot, oldest first. They stay there. Needs the attribute REPLICATION, and
/// sees every published row.
///
/// Whole transactions are decoded: one of a million rows is decoded to its end, however small the limit.
pub async fn peek(connection: &mut PgConnection, slot: &str, limit: u32) -> Result<Vec<Change>, PeekError> {
    // The server ends after the transaction with which it has sent so many messages. Of a change alone in its transaction
    // there are four at most: BEGIN, the table's description, the change, COMMIT.
    let most = i32::try_from(limit.saturating_mul(MESSAGES_OF_A_CHANGE)).unwrap_or(i32::MAX);
    let mut messages = sqlx::query!(
        r#"
        select lsn as "lsn!: Lsn", data as "data!"
        from pg_logical_slot_peek_binary_changes(
            $1::text::name, null, $2::integer, 'proto_version', '1', 'publication_names', $3::text
        )
        "#,
        slot,
        most,
        PUBLICATION,
    )
    .fetch(connection);
    let mut reader = Reader::default();
    let mut changes = Vec::new();
    while let Some(message) = messages.try_next().await.map_err(|source| PeekError::of_server(slot, source))? {
        let read = reader.read(message.lsn, &message.data);
        changes.extend(read.map_err(|source| PeekError::Decode { slot: slot.to_owned(), source })?);
        if changes.len() >= limit as usize {
            break;
        }
    }
    Ok(changes)
}

/// Puts a stream's messages together to changes.
#[derive(Default)]
struct Reader {
    relations: Relations,
    transaction: Option<(u32, Lsn, DateTime<Utc>)>,
}

impl Reader {
    fn read(&mut self, lsn: Lsn, message: &[u8]) -> Result<Option<Change>, DecodeError> {
        let what = match Message::read(message)? {
            Message::Begin { commit_lsn, committed_at, xid } => {
                self.transaction = Some((xid, commit_lsn, committed_at));
                None
            }
            Message::Relation { oid, relation } => {
                self.relations.learn(oid, relation);
                None
            }
            Message::Insert { oid, new } => {
                let (table, new) = (self.relations.of(oid)?, kept(new)?);
                Some(What::Insert {
                    table: table.qualified_name(),
                    key: key_of(table, &new),
                    new: as_json(table, &new),
                })
            }
            Message::Update { oid, old, new } => {
                let (table, old, new) = (self.relations.of(oid)?, old.map(kept).transpose()?, kept(new)?);
                let old = old.map(|old| key_of(table, &old));
                let (key, new) = (key_of(table, &new), as_json(table, &new));
                Some(What::Update { table: table.qualified_name(), key, old, new })
            }
            Message::Delete { oid, old } => {
                let (table, old) = (self.relations.of(oid)?, kept(old)?);
                Some(What::Delete { table: table.qualified_name(), key: key_of(table, &old) })
            }
            Message::Truncate { oids } => {
                let names = oids.into_iter().map(|oid| Ok(self.relations.of(oid)?.qualified_name()));
                Some(What::Truncate { tables: names.collect::<Result<_, DecodeError>>()? })
            }
            Message::Commit { .. } | Message::Application { .. } | Message::Other => None,
        };
        let change =
            |(xid, commit_lsn, committed_at)| what.map(|what| Change { lsn, xid, committed_at, commit_lsn, what });
        Ok(self.transaction.and_then(change))
    }
}

fn as_json(table: &Relation, row: &Row) -> Map<String, Json> {
    let columns = table.columns.iter().zip(row);
    columns.filter_map(|(column, value)| Some((column.name.clone(), json(value)?))).collect()
}

fn key_of(table: &Relation, row: &Row) -> Map<String, Json> {
    let columns = table.columns.iter().zip(row).filter(|(column, _)| column.is_key);
    columns.filter_map(|(column, value)| Some((column.name.clone(), json(value)?))).collect()
}

fn json(value: &Cell) -> Option<Json> {
    match value {
        Cell::Null => Some(Json::Null),
        Cell::Text(text) => Some(Json::String(text.clone())),
        Cell::Unchanged => None,
    }
}
