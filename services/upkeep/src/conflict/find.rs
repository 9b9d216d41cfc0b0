//! Looks through the changes that wait to be applied.

use std::collections::HashMap;

use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tandem_convergence::Side;
use tandem_replication::{Change, ChangeReader, Lsn, Subscription, TableState};

use super::backlog::{Arrival, Key, Touched};
use super::{Conflict, Version};
use crate::error::{UpkeepError, on};
use crate::sides::{Sides, Step, publication};
use crate::table::{Table, quoted};

/// Changes that are looked through before the rows that were found are dealt with. Apply stands still at the first
/// conflict, so that nearly always it is found among the first; more are found after those are out of the way.
const LOOK_AHEAD: usize = 100_000;
/// Changes that are read at once: a few megabytes.
const AT_ONCE: i32 = 5_000;
/// Rows that are named in one plan: more, nobody reads, and a table with more is better built anew.
const MOST: usize = 1_000;

/// A table that is in the stream, and what the backlog does to it.
struct Watched {
    table: Table,
    touched: Touched,
    arrivals: Vec<Arrival>,
}

/// The rows of the replica that stand in the way of changes which wait to be applied, in the order of the changes.
///
/// The changes are read from a copy of the subscription's slot, which nobody disturbs and which is gone at the end.
pub(crate) async fn find(sides: &mut Sides, observe: &(impl Fn(&Step) + Sync)) -> Result<Vec<Conflict>, UpkeepError> {
    let slot = sides.slot_name().await?;
    let from = sides.slot().await?.name;
    let until = sides.flushed().await?;
    let reader = ChangeReader::beside(&mut sides.primary, &from, &slot, publication()).await;
    let reader = reader.map_err(on(Side::Primary, "copying the slot"))?;
    let found = look_through(sides, reader, until, observe).await;
    let dropped = sqlx::query("select pg_drop_replication_slot($1)").bind(&slot).execute(&mut sides.primary).await;
    let found = found?;
    dropped.map_err(on(Side::Primary, "dropping the copy of the slot"))?;
    Ok(found)
}

async fn look_through(
    sides: &mut Sides,
    mut reader: ChangeReader,
    until: Lsn,
    observe: &(impl Fn(&Step) + Sync),
) -> Result<Vec<Conflict>, UpkeepError> {
    let subscription = sides.subscription().await?;
    let applied = sides.applied().await?;
    let (mut watched, mut conflicts, mut ordinal) = (HashMap::new(), Vec::new(), 0);
    while ordinal < LOOK_AHEAD && conflicts.len() < MOST {
        observe(&Step::LookingForConflicts(ordinal));
        let (changes, read_to) = reader.next(&mut sides.primary, until, AT_ONCE).await?;
        if read_to.is_none() {
            break;
        }
        for change in changes.iter().filter(|change| change.commit_lsn >= applied) {
            ordinal += 1;
            if let Some(table) = watch(&mut sides.replica, &mut watched, &subscription, change).await? {
                table.arrivals.extend(table.touched.take(ordinal, change, &table.table));
            }
        }
        for table in watched.values_mut().flatten() {
            conflicts.extend(table.in_the_way(&mut sides.replica).await.map_err(on(Side::Replica, LOOKING))?);
        }
    }
    // What was applied while we looked may be what we saw.
    let applied = sides.applied().await?;
    conflicts.retain(|conflict: &Conflict| conflict.commit_lsn >= applied);
    conflicts.sort_by_key(|conflict| conflict.commit_lsn);
    conflicts.dedup_by(|one, other| one.version == other.version);
    conflicts.truncate(MOST);
    Ok(conflicts)
}

const LOOKING: &str = "looking for rows in the way";

/// What is known of a change's table; `None` where the stream does not fill it yet.
async fn watch<'a>(
    replica: &mut PgConnection,
    watched: &'a mut HashMap<String, Option<Watched>>,
    subscription: &Subscription,
    change: &Change,
) -> Result<Option<&'a mut Watched>, UpkeepError> {
    let relation = &change.relation;
    let label = format!("{}.{}", relation.schema, relation.name);
    if !watched.contains_key(&label) {
        let in_stream =
            |table: &&tandem_replication::SubscribedTable| table.name == label && table.state == TableState::Ready;
        let found = match subscription.tables.iter().find(in_stream) {
            Some(_) => Table::find(replica, &relation.schema, &relation.name).await,
            None => Ok(None),
        };
        let found = found.map_err(on(Side::Replica, LOOKING))?;
        let table = found.map(|table| Watched { table, touched: Touched::default(), arrivals: Vec::new() });
        watched.insert(label.clone(), table);
    }
    Ok(watched.get_mut(&label).and_then(Option::as_mut))
}

impl Watched {
    /// Of the rows that have arrived since the last call, those whose place is taken.
    async fn in_the_way(&mut self, replica: &mut PgConnection) -> Result<Vec<Conflict>, sqlx::Error> {
        let arrivals = std::mem::take(&mut self.arrivals);
        let mut conflicts = Vec::new();
        for (index, columns) in &self.table.unique {
            // An update that keeps its key is in nobody's way by it.
            let by_key = *columns == self.table.primary_key;
            let keyed: Vec<(&Arrival, Key)> = arrivals
                .iter()
                .filter(|arrival| arrival.is_new || !by_key)
                .filter_map(|arrival| Some((arrival, arrival.values_of(columns)?)))
                .collect();
            if keyed.is_empty() {
                continue;
            }
            for row in self.standing(replica, columns, &keyed).await? {
                let arrival = keyed[usize::try_from(row.try_get::<i64, _>("place")?).unwrap_or_default()].0;
                if self.touched.is_in_the_way(arrival, &row.try_get("key_texts")?) {
                    conflicts.push(self.conflict(index, arrival, &row)?);
                }
            }
        }
        Ok(conflicts)
    }

    /// The replica's rows that have one of these values in the columns of a unique index.
    async fn standing(
        &self,
        replica: &mut PgConnection,
        columns: &[String],
        keyed: &[(&Arrival, Key)],
    ) -> Result<Vec<sqlx::postgres::PgRow>, sqlx::Error> {
        let texts = |names: &[String]| {
            names.iter().map(|name| format!("standing.{}::text", quoted(name))).collect::<Vec<_>>().join(", ")
        };
        let pairs = |name: &String| format!("'{}', standing.{}", name.replace('\'', "''"), quoted(name));
        let same = columns.iter().enumerate().map(|(place, name)| {
            let data_type = self.table.type_of(name).unwrap_or("text");
            format!("standing.{} = sought.value_{place}::{data_type}", quoted(name))
        });
        let statement = format!(
            "select sought.place - 1 as place, array[{}] as key_texts, jsonb_build_object({}) as key,
                to_jsonb(standing) as row, standing.ctid::text as ctid, standing.xmin::text as xmin
            from unnest({}) with ordinality as sought ({}, place)
            join {} as standing on {}
            order by sought.place",
            texts(&self.table.primary_key),
            self.table.primary_key.iter().map(pairs).collect::<Vec<_>>().join(", "),
            (1..=columns.len()).map(|number| format!("${number}::text[]")).collect::<Vec<_>>().join(", "),
            (0..columns.len()).map(|place| format!("value_{place}")).collect::<Vec<_>>().join(", "),
            self.table.relation(),
            same.collect::<Vec<_>>().join(" and "),
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for place in 0..columns.len() {
            query = query.bind(keyed.iter().map(|(_, key)| key[place].clone()).collect::<Vec<_>>());
        }
        query.fetch_all(replica).await
    }

    fn conflict(&self, index: &str, arrival: &Arrival, row: &sqlx::postgres::PgRow) -> Result<Conflict, sqlx::Error> {
        let sent = arrival.values.iter().filter_map(|(name, cell)| match cell {
            tandem_replication::Cell::Null => Some((name.clone(), Value::Null)),
            tandem_replication::Cell::Text(text) => Some((name.clone(), Value::String(text.clone()))),
            tandem_replication::Cell::Unchanged => None,
        });
        Ok(Conflict {
            table: self.table.label(),
            key: row.try_get("key")?,
            index: index.to_owned(),
            on_replica: row.try_get("row")?,
            arriving: Value::Object(sent.collect::<Map<_, _>>()),
            commit_lsn: arrival.commit_lsn,
            version: Version {
                schema: self.table.schema.clone(),
                name: self.table.name.clone(),
                ctid: row.try_get("ctid")?,
                xmin: row.try_get("xmin")?,
            },
        })
    }
}
