//! Connections of one side that read in one snapshot.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::try_join_all;
use sqlx::Row;

use crate::connect::{Database, Deadline};
use crate::error::{CheckError, Side};
use crate::key::{Key, KeyRange};
use crate::published::PublishedTable;
use crate::slot::Unseen;
use crate::statement::{self, Rows, Statement};
use crate::sums::Sums;

/// How long a table's lock is waited for before its snapshot is taken. It is the lock of every reader, so only DDL and
/// TRUNCATE are in the way; and whoever comes after us would wait behind us.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Rows that are asked for by their keys at once.
const KEYS_AT_ONCE: usize = 1_000;

/// Some connections to one side.
pub(crate) struct Readers {
    pub(crate) side: Side,
    pub(crate) all: Vec<Reader>,
}

/// One of them.
pub(crate) struct Reader {
    pub(crate) database: Database,
}

impl Readers {
    pub(crate) async fn connect(side: Side, url: &str, count: u8, deadline: &Deadline) -> Result<Self, CheckError> {
        let connect = async |_| Ok(Reader { database: Database::connect(side, url, deadline).await? });
        let all = try_join_all((0..count.max(1)).map(connect)).await?;
        Ok(Self { side, all })
    }

    /// The server's processes.
    pub(crate) fn pids(&self) -> Vec<i32> {
        self.all.iter().map(|reader| reader.database.pid).collect()
    }

    /// Whichever has nothing else to do.
    pub(crate) fn first(&mut self) -> &mut Reader {
        &mut self.all[0]
    }

    /// Takes one snapshot for all; on a primary, tells what it does not see.
    ///
    /// Tables are locked before, since no snapshot knows of a TRUNCATE.
    pub(crate) async fn begin(&mut self, tables: &[&PublishedTable]) -> Result<Option<Unseen>, CheckError> {
        let side = self.side;
        let (first, others) = self.all.split_first_mut().unwrap_or_else(|| unreachable!("one reader at least"));
        let relations: Vec<&str> = tables.iter().map(|table| table.relation.as_str()).collect();
        let begin = "begin isolation level repeatable read, read only";
        let lock_timeout = LOCK_TIMEOUT.as_millis();
        let lock = format!(
            "{begin}; set local lock_timeout = {lock_timeout}; lock table {} in access share mode; \
             set local lock_timeout = 0",
            relations.join(", ")
        );
        first.database.execute("locking the tables against TRUNCATE", &lock).await.map_err(|error| match error {
            CheckError::Query { side, source, .. } if is_lock_timeout(&source) => {
                CheckError::TableWanted { side, table: "a published table".to_owned() }
            }
            error => error,
        })?;
        let query = "select pg_export_snapshot() as snapshot, pg_current_snapshot()::text as seen";
        let (snapshot, seen): (String, String) = first
            .database
            .ask_one("taking a snapshot", sqlx::query(query), |row| {
                Ok((row.try_get("snapshot")?, row.try_get("seen")?))
            })
            .await?;
        for reader in others {
            let import = format!("{begin}; set transaction snapshot '{snapshot}'");
            reader.database.execute("sharing the snapshot", &import).await?;
        }
        Ok(if side == Side::Primary { Unseen::of(&seen) } else { None })
    }

    /// Lets go of the snapshot and the locks.
    pub(crate) async fn end(&mut self) -> Result<(), CheckError> {
        for reader in &mut self.all {
            reader.database.execute("ending the snapshot", "commit").await?;
        }
        Ok(())
    }
}

/// `lock_not_available`.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.as_deref() == Some("55P03")
}

impl Reader {
    fn side(&self) -> Side {
        self.database.side
    }

    pub(crate) async fn sums(&mut self, table: &PublishedTable, rows: Rows<'_>) -> Result<Sums, CheckError> {
        Ok(self.sums_and_log(table, rows).await?.0)
    }

    /// Also how many bytes of log the server had written by then.
    pub(crate) async fn sums_and_log(
        &mut self,
        table: &PublishedTable,
        rows: Rows<'_>,
    ) -> Result<(Sums, u64), CheckError> {
        let statement = statement::sums(table, self.side(), rows);
        let doing = format!("reading {}", table.name);
        self.database
            .ask_one(&doing, statement.query(), |row| {
                let hash: String = row.try_get("hash")?;
                let hash = hash.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
                let log: i64 = row.try_get("log")?;
                Ok((Sums { rows: row.try_get("rows")?, hash }, log.unsigned_abs()))
            })
            .await
    }

    /// The sums of the rows with these keys, those within the range.
    pub(crate) async fn sums_of_keys(
        &mut self,
        table: &PublishedTable,
        keys: &[Key],
        range: &KeyRange,
    ) -> Result<Sums, CheckError> {
        let mut sums = Sums::default();
        for keys in keys.chunks(KEYS_AT_ONCE) {
            sums += self.sums(table, Rows::WithKeysInRange(keys, range)).await?;
        }
        Ok(sums)
    }

    pub(crate) async fn hashes(
        &mut self,
        table: &PublishedTable,
        rows: Rows<'_>,
    ) -> Result<Vec<(Key, i64)>, CheckError> {
        let statement = statement::hashes(table, self.side(), rows);
        let doing = format!("reading rows of {}", table.name);
        self.database.ask(&doing, statement.query(), |row| Ok((Key(row.try_get("key")?), row.try_get("hash")?))).await
    }

    pub(crate) async fn hashes_of_keys(
        &mut self,
        table: &PublishedTable,
        keys: &[Key],
    ) -> Result<Vec<(Key, i64)>, CheckError> {
        let mut hashes = Vec::new();
        for keys in keys.chunks(KEYS_AT_ONCE) {
            hashes.extend(self.hashes(table, Rows::WithKeys(keys)).await?);
        }
        Ok(hashes)
    }

    /// Keys that cut a range into parts of `step` rows.
    pub(crate) async fn cuts(
        &mut self,
        table: &PublishedTable,
        range: &KeyRange,
        step: u64,
    ) -> Result<Vec<Key>, CheckError> {
        let statement = statement::cuts(table, self.side(), range, step);
        self.keys(table, &statement).await
    }

    /// The key that stands so many rows behind the first one of both ranges.
    pub(crate) async fn key_at(
        &mut self,
        table: &PublishedTable,
        ranges: [&KeyRange; 2],
        behind: u64,
    ) -> Result<Option<Key>, CheckError> {
        let statement = statement::key_at(table, self.side(), ranges, behind);
        Ok(self.keys(table, &statement).await?.pop())
    }

    /// Keys of rows here and there, in their order.
    pub(crate) async fn anywhere(
        &mut self,
        table: &PublishedTable,
        percent: f64,
        count: u64,
    ) -> Result<Vec<Key>, CheckError> {
        self.keys(table, &statement::anywhere(table, percent, count)).await
    }

    /// How many rows the table has, by its statistics; -1 where there are none.
    pub(crate) async fn estimated_rows(&mut self, table: &PublishedTable) -> Result<f64, CheckError> {
        let query = "select reltuples::float8 as rows from pg_class where oid = to_regclass($1)";
        let query = sqlx::query(query).bind(&table.relation);
        self.database.ask_one("reading sizes", query, |row| row.try_get("rows")).await
    }

    async fn keys(&mut self, table: &PublishedTable, statement: &Statement) -> Result<Vec<Key>, CheckError> {
        let doing = format!("reading keys of {}", table.name);
        self.database.ask(&doing, statement.query(), |row| Ok(Key(row.try_get("key")?))).await
    }

    /// The texts of the columns of these rows.
    pub(crate) async fn texts(
        &mut self,
        table: &PublishedTable,
        keys: &[Key],
    ) -> Result<Vec<(Key, Vec<Option<String>>)>, CheckError> {
        let mut texts = Vec::new();
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let statement = statement::texts(table, self.side(), keys);
            let doing = format!("reading columns of {}", table.name);
            let read = |row: sqlx::postgres::PgRow| Ok((Key(row.try_get("key")?), row.try_get("texts")?));
            texts.extend(self.database.ask(&doing, statement.query(), read).await?);
        }
        Ok(texts)
    }

    /// How many blocks the table has on disk; 0 for a partitioned one.
    pub(crate) async fn blocks(&mut self, table: &PublishedTable) -> Result<u64, CheckError> {
        let query = "select pg_relation_size(to_regclass($1)) / current_setting('block_size')::bigint as blocks";
        let query = sqlx::query(query).bind(&table.relation);
        let blocks: i64 = self.database.ask_one("reading sizes", query, |row| row.try_get("blocks")).await?;
        Ok(blocks.unsigned_abs())
    }
}

/// Keys as a list, in no order.
pub(crate) fn listed(keys: &HashSet<Key>) -> Vec<Key> {
    keys.iter().cloned().collect()
}
