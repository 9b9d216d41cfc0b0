//! What a publication sends, read out of a slot by SQL: changes in the order of their commits, as text.
//!
//! The reader's slot is temporary: it goes with its session, however that ends, and nobody else reads from it.

use std::sync::Arc;

use futures::TryStreamExt as _;
use sqlx::PgConnection;

use crate::Lsn;
use crate::pgoutput::{DecodeError, Message, Relation, Relations, Row, kept};

/// Why changes can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database refuses, or went away.
    #[error("the primary's changes can't be read")]
    Database(#[from] sqlx::Error),
    /// It sends what this build does not know.
    #[error(transparent)]
    Message(#[from] DecodeError),
}

/// One change of one table.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where the record of its commit begins. Who has applied everything before a position has applied this change if the
    /// position lies behind this.
    pub commit_lsn: Lsn,
    /// The table.
    pub relation: Arc<Relation>,
    /// What happened to it.
    pub what: What,
}

/// What happened to a table.
#[derive(Clone, Debug)]
pub enum What {
    /// A row came.
    Insert(Row),
    /// A row changed; `old` where its key did.
    Update {
        /// Its key as it was.
        old: Option<Row>,
        /// All of it as it is.
        new: Row,
    },
    /// A row went; its key.
    Delete(Row),
    /// All rows went.
    Truncate,
}

/// Reads a slot of its session from its beginning on.
#[derive(Debug)]
pub struct ChangeReader {
    slot: String,
    publication: String,
    relations: Relations,
}

impl ChangeReader {
    /// Begins where the slot `from` stands, which is left as it is, also while somebody reads from it.
    pub async fn beside(
        connection: &mut PgConnection,
        from: &str,
        slot: &str,
        publication: &str,
    ) -> Result<Self, sqlx::Error> {
        sqlx::query!("select from pg_copy_logical_replication_slot($1::text::name, $2::text::name, true)", from, slot)
            .execute(connection)
            .await?;
        Ok(Self::of(slot, publication))
    }

    /// Begins now: every transaction that commits after this call is read.
    pub async fn from_now(connection: &mut PgConnection, slot: &str, publication: &str) -> Result<Self, sqlx::Error> {
        sqlx::query!("select from pg_create_logical_replication_slot($1::text::name, 'pgoutput', true)", slot)
            .execute(connection)
            .await?;
        Ok(Self::of(slot, publication))
    }

    fn of(slot: &str, publication: &str) -> Self {
        Self { slot: slot.to_owned(), publication: publication.to_owned(), relations: Relations::default() }
    }

    /// The next changes of transactions that committed before `until`: whole transactions, until there are `most` messages
    /// or no more. One whose commit ends behind `until` may be among them. Fewer than none at the end: see the returned
    /// [`Lsn`], behind the last transaction that was read.
    pub async fn next(
        &mut self,
        connection: &mut PgConnection,
        until: Lsn,
        most: i32,
    ) -> Result<(Vec<Change>, Option<Lsn>), ReadError> {
        let (mut changes, mut commit_lsn, mut read_to) = (Vec::new(), Lsn::default(), None);
        let mut messages = sqlx::query_scalar!(
            r#"
            select data as "data!"
            from pg_logical_slot_get_binary_changes(
                $1::text::name, $2, $3, 'proto_version', '1', 'publication_names', quote_ident($4)
            )
            "#,
            &self.slot,
            until as Lsn,
            most,
            &self.publication,
        )
        .fetch(connection);
        while let Some(bytes) = messages.try_next().await? {
            let mut push = |relation: &Arc<Relation>, what| {
                changes.push(Change { commit_lsn, relation: Arc::clone(relation), what });
            };
            match Message::read(&bytes)? {
                Message::Begin { commit_lsn: begun, .. } => commit_lsn = begun,
                Message::Commit { end_lsn } => read_to = Some(end_lsn),
                Message::Relation { oid, relation } => self.relations.learn(oid, relation),
                Message::Insert { oid, new } => push(self.relations.of(oid)?, What::Insert(kept(new)?)),
                Message::Update { oid, old, new } => {
                    let (old, new) = (old.map(kept).transpose()?, kept(new)?);
                    push(self.relations.of(oid)?, What::Update { old, new });
                }
                Message::Delete { oid, old } => push(self.relations.of(oid)?, What::Delete(kept(old)?)),
                Message::Truncate { oids } => {
                    for oid in oids {
                        push(self.relations.of(oid)?, What::Truncate);
                    }
                }
                Message::Application { .. } | Message::Other => {}
            }
        }
        Ok((changes, read_to))
    }
}
