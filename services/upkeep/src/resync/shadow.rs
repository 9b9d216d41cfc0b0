//! A table that is built beside another one, under the same name in a schema of its own.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tandem_convergence::Side;
use tandem_replication::{Cell, Change, PublishedTable, Row, What};

use crate::error::{UpkeepError, on};
use crate::sides::Step;
use crate::table::{Table, listed, quoted, relation};

/// Where tables are built. Nothing in it is anybody's: whoever begins drops what was left there.
pub(super) const SCHEMA: &str = "tandem_resync";
/// Rows of one database transaction of the copy. A transaction that runs holds back the horizons of rollups and watchers,
/// so that none may be long; a second's worth.
const ROWS_AT_ONCE: u64 = 50_000;
/// Bytes that are handed to COPY at once.
const BUFFER: usize = 256 * 1024;

const COPYING: &str = "copying a table";
const REPLAYING: &str = "replaying changes";

/// A primary key, each value as text.
pub(super) type Key = Vec<String>;

/// A table under construction.
pub(super) struct Shadow {
    pub(super) table: Table,
    /// Published columns.
    pub(super) columns: Vec<String>,
    /// What is to be done once it has taken the table's place.
    pub(super) after: Vec<String>,
    /// What the last changes have made of rows; `None`: gone.
    pending: HashMap<Key, Option<Row>>,
}

impl Shadow {
    /// Makes an empty table with all that the old one has.
    pub(super) async fn create(replica: &mut PgConnection, published: &PublishedTable) -> Result<Self, UpkeepError> {
        let failed = on(Side::Replica, "making a table");
        let unfit = |why: String| UpkeepError::Unfit { table: format!("{}.{}", published.schema, published.name), why };
        let table = Table::find(replica, &published.schema, &published.name).await.map_err(failed)?;
        let table = table.ok_or_else(|| unfit("the replica does not have it".to_owned()))?;
        if table.primary_key.is_empty() || !table.primary_key.iter().all(|name| published.columns.contains(name)) {
            return Err(unfit("it has no primary key that is published".to_owned()));
        }
        if let Some(missing) = published.columns.iter().find(|name| table.type_of(name).is_none()) {
            return Err(unfit(format!("the replica's lacks the column {missing}: run `tandem-query migrate`")));
        }
        let definition = sqlx::query(include_str!("definition.sql")).bind(table.oid).bind(SCHEMA);
        let definition = definition.fetch_one(&mut *replica).await.map_err(failed)?;
        let list = |name: &str| definition.try_get::<Vec<String>, _>(name).map_err(failed);
        let (before, after, hindrances) = (list("before")?, list("after")?, list("hindrances")?);
        if !hindrances.is_empty() {
            return Err(unfit(hindrances.join(", ")));
        }
        let shadow = Self { columns: published.columns.clone(), after, pending: HashMap::new(), table };
        let like = format!(
            "create table {} (like {} including all excluding indexes)",
            shadow.relation(),
            shadow.table.relation()
        );
        let mut transaction = replica.begin().await.map_err(failed)?;
        for statement in std::iter::once(like).chain(before) {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(shadow)
    }

    /// Its name, quoted for SQL.
    pub(super) fn relation(&self) -> String {
        relation(SCHEMA, &self.table.name)
    }

    /// Copies the primary's rows, as one snapshot has them.
    pub(super) async fn copy(
        &self,
        primary: &mut PgConnection,
        replica: &mut PgConnection,
        observe: &(impl Fn(&Step) + Sync),
    ) -> Result<u64, UpkeepError> {
        let (from, to) = (on(Side::Primary, COPYING), on(Side::Replica, COPYING));
        let columns = listed("", &self.columns);
        let out = format!("copy {} ({columns}) to stdout", self.table.relation());
        let mut rows = primary.copy_out_raw(&out).await.map_err(from)?;
        let into = format!("copy {} ({columns}) from stdin", self.relation());
        let (mut copied, mut ended) = (0, false);
        while !ended {
            let mut sink = replica.copy_in_raw(&into).await.map_err(to)?;
            let (mut taken, mut buffer) = (0, Vec::with_capacity(BUFFER));
            while taken < ROWS_AT_ONCE {
                // The server sends a row at a time.
                let Some(row) = rows.try_next().await.map_err(from)? else {
                    ended = true;
                    break;
                };
                buffer.extend_from_slice(&row);
                taken += 1;
                if buffer.len() >= BUFFER {
                    sink.send(std::mem::take(&mut buffer)).await.map_err(to)?;
                }
            }
            sink.send(buffer).await.map_err(to)?;
            copied += sink.finish().await.map_err(to)?;
            observe(&Step::Copying(self.table.label(), copied));
        }
        Ok(copied)
    }

    /// Takes a change in. What a key looks like after the last change of it is what counts, so that changes which the copy
    /// has seen already do no harm once all have come that it has seen.
    pub(super) async fn take(&mut self, change: &Change, replica: &mut PgConnection) -> Result<(), UpkeepError> {
        let names: Vec<&String> = change.relation.columns.iter().map(|column| &column.name).collect();
        let arranged = |row: &Row| -> Row {
            let cell = |wanted: &String| names.iter().position(|name| *name == wanted).and_then(|place| row.get(place));
            self.columns.iter().map(|wanted| cell(wanted).cloned().unwrap_or(Cell::Unchanged)).collect()
        };
        let (old, new) = match &change.what {
            What::Insert(new) => (None, Some(arranged(new))),
            What::Update { old, new } => (old.as_ref().map(&arranged), Some(arranged(new))),
            What::Delete(old) => (Some(arranged(old)), None),
            What::Truncate => {
                self.pending.clear();
                let truncate = format!("truncate {}", self.relation());
                let done = sqlx::raw_sql(AssertSqlSafe(truncate)).execute(replica).await;
                return done.map(drop).map_err(on(Side::Replica, REPLAYING));
            }
        };
        let Some(new) = new else {
            self.pending.extend(old.map(|old| (self.key(&old), None)));
            return Ok(());
        };
        let (key, old_key) = (self.key(&new), old.map(|old| self.key(&old)));
        let from = old_key.clone().unwrap_or_else(|| key.clone());
        let new = match self.pending.get(&from) {
            Some(Some(before)) => completed(new, before),
            _ => new,
        };
        if new.contains(&Cell::Unchanged) {
            self.flush(replica).await?;
            return self.change_some(replica, &from, &key, &new).await.map_err(on(Side::Replica, REPLAYING));
        }
        self.pending.extend(old_key.map(|old| (old, None)));
        self.pending.insert(key, Some(new));
        Ok(())
    }

    /// The primary key of a row.
    pub(super) fn key(&self, row: &Row) -> Key {
        let place = |name: &String| self.columns.iter().position(|column| column == name);
        let text = |name| place(name).and_then(|place| row[place].text()).unwrap_or_default().to_owned();
        self.table.primary_key.iter().map(text).collect()
    }

    /// Writes what has been taken in.
    pub(super) async fn flush(&mut self, replica: &mut PgConnection) -> Result<(), UpkeepError> {
        let failed = on(Side::Replica, REPLAYING);
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let keys: Vec<&Key> = pending.keys().collect();
        let rows: Vec<&Row> = pending.values().flatten().collect();
        let mut transaction = replica.begin().await.map_err(failed)?;
        self.delete(&mut transaction, &keys).await.map_err(failed)?;
        self.insert(&mut transaction, &rows).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn delete(&self, replica: &mut PgConnection, keys: &[&Key]) -> Result<(), sqlx::Error> {
        let statement =
            format!("delete from {} as standing using {}", self.relation(), self.keys_as("gone", "standing"));
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for place in 0..self.table.primary_key.len() {
            query = query.bind(keys.iter().map(|key| key[place].clone()).collect::<Vec<_>>());
        }
        query.execute(replica).await.map(drop)
    }

    /// `unnest(…) as name (…) where …`: keys that are bound as arrays of text, and their rows of `row`.
    pub(super) fn keys_as(&self, name: &str, row: &str) -> String {
        let key = &self.table.primary_key;
        let arrays: Vec<_> = (1..=key.len()).map(|number| format!("${number}::text[]")).collect();
        let values: Vec<_> = (0..key.len()).map(|place| format!("value_{place}")).collect();
        let same = key.iter().enumerate().map(|(place, column)| {
            let data_type = self.table.type_of(column).unwrap_or("text");
            format!("{row}.{} = {name}.value_{place}::{data_type}", quoted(column))
        });
        let same: Vec<_> = same.collect();
        format!("unnest({}) as {name} ({}) where {}", arrays.join(", "), values.join(", "), same.join(" and "))
    }

    async fn insert(&self, replica: &mut PgConnection, rows: &[&Row]) -> Result<(), sqlx::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let arrays: Vec<_> = (1..=self.columns.len()).map(|number| format!("${number}::text[]")).collect();
        let values: Vec<_> = (0..self.columns.len()).map(|place| format!("value_{place}")).collect();
        let typed = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, column)| format!("come.value_{place}::{}", self.table.type_of(column).unwrap_or("text")));
        let statement = format!(
            "insert into {} ({}) select {} from unnest({}) as come ({})",
            self.relation(),
            listed("", &self.columns),
            typed.collect::<Vec<_>>().join(", "),
            arrays.join(", "),
            values.join(", "),
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for place in 0..self.columns.len() {
            query = query.bind(rows.iter().map(|row| row[place].text().map(str::to_owned)).collect::<Vec<_>>());
        }
        query.execute(replica).await.map(drop)
    }

    /// An update that was sent without its large values. Where the row is not there, the copy has seen a later state of it.
    async fn change_some(
        &self,
        replica: &mut PgConnection,
        from: &Key,
        key: &Key,
        row: &Row,
    ) -> Result<(), sqlx::Error> {
        let count = self.table.primary_key.len();
        let sent: Vec<usize> = (0..row.len()).filter(|place| row[*place] != Cell::Unchanged).collect();
        let typed = |column: &String, number: usize| {
            format!("{} = ${number}::text::{}", quoted(column), self.table.type_of(column).unwrap_or("text"))
        };
        let sought = |offset: usize| {
            let parts = self.table.primary_key.iter().enumerate();
            parts.map(|(place, column)| typed(column, offset + place + 1)).collect::<Vec<_>>().join(" and ")
        };
        if from != key {
            // What stands there is of a later state, and there is none if the row is still where it was.
            let clear = format!(
                "delete from {0} where {1} and exists (select from {0} where {2})",
                self.relation(),
                sought(0),
                sought(count)
            );
            let mut query = sqlx::query(AssertSqlSafe(clear));
            for value in key.iter().chain(from) {
                query = query.bind(value.clone());
            }
            query.execute(&mut *replica).await?;
        }
        let set = sent.iter().enumerate().map(|(at, place)| typed(&self.columns[*place], count + at + 1));
        let set: Vec<_> = set.collect();
        let update = format!("update {} set {} where {}", self.relation(), set.join(", "), sought(0));
        let mut query = sqlx::query(AssertSqlSafe(update));
        for value in from {
            query = query.bind(value.clone());
        }
        for place in sent {
            query = query.bind(row[place].text().map(str::to_owned));
        }
        query.execute(replica).await.map(drop)
    }
}

/// The new row, with what was not sent as the row before has it.
fn completed(new: Row, before: &Row) -> Row {
    let cells = new.into_iter().zip(before);
    cells.map(|(cell, before)| if cell == Cell::Unchanged { before.clone() } else { cell }).collect()
}
