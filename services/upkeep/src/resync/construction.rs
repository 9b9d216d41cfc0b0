//! Tables under construction, and the changes that keep them up to date.

use std::collections::VecDeque;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tandem_convergence::Side;
use tandem_replication::{Change, ChangeReader, Lsn, PublishedTable, What};

use super::shadow::{Key, SCHEMA, Shadow};
use crate::error::{UpkeepError, on};
use crate::sides::{Sides, Step, publication};
use crate::table::listed;

/// Changes that are read at once: a few megabytes.
const AT_ONCE: i32 = 5_000;
/// Keys that a comparison sets aside at most. More have changed only where the replica is far behind.
const MOST_TOUCHED: usize = 200_000;
/// A commit is in the log before other sessions of the primary see it, so one difference may be none.
const COMPARISONS: usize = 4;

/// What is built, and from which changes.
pub(super) struct Construction {
    pub(super) shadows: Vec<Shadow>,
    reader: ChangeReader,
    /// Read, and not due yet.
    held: VecDeque<Change>,
}

/// Up to where a comparison may bring the tables: what they hold must not overtake what the stream has brought to those
/// that they are to replace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Limit {
    /// The stream goes on by itself.
    Applied,
    /// The stream will be told where to go on.
    None,
}

impl Construction {
    /// Makes the tables, and copies the primary's rows into them. Every change that is not in a copy for sure is read later.
    pub(super) async fn begin(
        sides: &mut Sides,
        published: &[PublishedTable],
        observe: &(impl Fn(&Step) + Sync),
    ) -> Result<Self, UpkeepError> {
        let failed = on(Side::Replica, "making the schema of what is built");
        let anew = format!("drop schema if exists {SCHEMA} cascade; create schema {SCHEMA}");
        sqlx::raw_sql(AssertSqlSafe(anew)).execute(&mut sides.replica).await.map_err(failed)?;
        let slot = sides.slot_name().await?;
        let reader = ChangeReader::from_now(&mut sides.primary, &slot, publication()).await;
        let reader = reader.map_err(on(Side::Primary, "making a temporary slot"))?;
        let mut shadows = Vec::new();
        for table in published {
            shadows.push(Shadow::create(&mut sides.replica, table).await?);
        }
        for shadow in &shadows {
            observe(&Step::Copying(shadow.table.label(), 0));
            shadow.copy(&mut sides.primary, &mut sides.replica, observe).await?;
        }
        Ok(Self { shadows, reader, held: VecDeque::new() })
    }

    /// Brings the tables to where everything is in them that committed before `to`, and nothing else.
    pub(super) async fn advance(
        &mut self,
        primary: &mut PgConnection,
        replica: &mut PgConnection,
        to: Lsn,
    ) -> Result<(), UpkeepError> {
        loop {
            while self.held.front().is_some_and(|change| change.commit_lsn < to) {
                if let Some(change) = self.held.pop_front()
                    && let Some(shadow) = self.shadows.iter_mut().find(|shadow| shadow.is_of(&change))
                {
                    shadow.take(&change, replica).await?;
                }
            }
            for shadow in &mut self.shadows {
                shadow.flush(replica).await?;
            }
            if !self.read(primary, to).await? {
                return Ok(());
            }
        }
    }

    /// Whether there was something to read.
    async fn read(&mut self, primary: &mut PgConnection, until: Lsn) -> Result<bool, UpkeepError> {
        let (changes, read_to) = self.reader.next(primary, until, AT_ONCE).await?;
        let wanted = changes.into_iter().filter(|change| self.shadows.iter().any(|shadow| shadow.is_of(change)));
        self.held.extend(wanted);
        Ok(read_to.is_some())
    }

    /// Statistics and block ranges, which queries need as soon as they read the tables.
    pub(super) async fn vacuum(&self, replica: &mut PgConnection) -> Result<(), UpkeepError> {
        for shadow in &self.shadows {
            let vacuum = format!("vacuum (analyze) {}", shadow.relation());
            let vacuum = sqlx::raw_sql(AssertSqlSafe(vacuum)).execute(&mut *replica).await;
            vacuum.map_err(on(Side::Replica, "vacuuming what was built"))?;
        }
        Ok(())
    }

    /// Proves each table equal to the primary's, while both change: rows that changed in between are left out, which the
    /// changes bring.
    pub(super) async fn compare(
        &mut self,
        sides: &mut Sides,
        limit: Limit,
        observe: &(impl Fn(&Step) + Sync),
    ) -> Result<(), UpkeepError> {
        let mut snapshot = sides.another_primary().await?;
        for place in 0..self.shadows.len() {
            let label = self.shadows[place].table.label();
            observe(&Step::Comparing(label.clone()));
            let mut equal = false;
            for _ in 0..COMPARISONS {
                equal = self.is_equal(place, sides, &mut snapshot, limit).await?;
                if equal {
                    break;
                }
            }
            if !equal {
                return Err(UpkeepError::Differs { table: label });
            }
        }
        Ok(())
    }

    async fn is_equal(
        &mut self,
        place: usize,
        sides: &mut Sides,
        snapshot: &mut PgConnection,
        limit: Limit,
    ) -> Result<bool, UpkeepError> {
        let from = match limit {
            Limit::Applied => sides.applied().await?,
            Limit::None => sides.barrier().await?,
        };
        self.advance(&mut sides.primary, &mut sides.replica, from).await?;
        let failed = on(Side::Primary, "reading a table in one snapshot");
        let begin = "begin isolation level repeatable read, read only";
        let mut snapshot = snapshot.begin_with(begin).await.map_err(failed)?;
        sqlx::query("select pg_current_snapshot()::text").execute(&mut *snapshot).await.map_err(failed)?;
        let until = sides.barrier().await?;
        while self.read(&mut sides.primary, until).await? {}
        let Some(touched) = self.touched(place)? else { return Ok(false) };
        let shadow = &self.shadows[place];
        let primary = shadow.sum(&shadow.table.relation(), &touched, &mut snapshot).await.map_err(failed)?;
        let built = shadow.sum(&shadow.relation(), &touched, &mut sides.replica).await;
        Ok(primary == built.map_err(on(Side::Replica, "reading what was built"))?)
    }

    /// Keys that the changes touch which are not due yet; `None` where they empty the table.
    fn touched(&self, place: usize) -> Result<Option<Vec<Key>>, UpkeepError> {
        let shadow = &self.shadows[place];
        let mut touched = Vec::new();
        for change in self.held.iter().filter(|change| shadow.is_of(change)) {
            let (one, other) = match &change.what {
                What::Insert(row) | What::Delete(row) => (Some(row), None),
                What::Update { old, new } => (old.as_ref(), Some(new)),
                What::Truncate => return Ok(None),
            };
            touched.extend(one.into_iter().chain(other).map(|row| shadow.sent_key(change, row)));
        }
        touched.sort_unstable();
        touched.dedup();
        if touched.len() > MOST_TOUCHED {
            let why = format!("the replica is more than {MOST_TOUCHED} rows behind: wait until it has caught up");
            return Err(UpkeepError::Unfit { table: shadow.table.label(), why });
        }
        Ok(Some(touched))
    }
}

impl Shadow {
    pub(super) fn is_of(&self, change: &Change) -> bool {
        change.relation.schema == self.table.schema && change.relation.name == self.table.name
    }

    fn sent_key(&self, change: &Change, row: &tandem_replication::Row) -> Key {
        let place = |name: &String| change.relation.columns.iter().position(|column| column.name == *name);
        let text = |name| place(name).and_then(|place| row[place].text()).unwrap_or_default().to_owned();
        self.table.primary_key.iter().map(text).collect()
    }

    /// How many rows a table holds besides those of some keys, and the sum of their hashes. Of texts, which hash alike in
    /// every version of PostgreSQL.
    async fn sum(
        &self,
        relation: &str,
        without: &[Key],
        connection: &mut PgConnection,
    ) -> Result<(i64, String), sqlx::Error> {
        let statement = format!(
            "select count(*) as rows, coalesce(sum(hashtextextended(row({})::text, 0)::numeric), 0)::text as hash
            from {relation} as standing where not exists (select from {})",
            listed("standing.", &self.columns),
            self.keys_as("touched", "standing"),
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for place in 0..self.table.primary_key.len() {
            query = query.bind(without.iter().map(|key| key[place].clone()).collect::<Vec<_>>());
        }
        let row = query.fetch_one(connection).await?;
        Ok((row.try_get("rows")?, row.try_get("hash")?))
    }
}
