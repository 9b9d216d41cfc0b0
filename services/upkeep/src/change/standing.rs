//! Where both sides stand, and where they don't agree.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tandem_convergence::Side;
use tandem_replication::{PrimaryLook, Publication, Subscription, TableState};

use super::file::Change;
use super::pair::Pair;
use crate::error::{UpkeepError, on};
use crate::sides::publication;
use crate::table::quoted;

/// Types of columns, as SQL writes them, by table (schema.table) and column.
type Columns = BTreeMap<(String, String), String>;

pub(super) struct Standing {
    /// The published columns, each table's in order; and its row filter.
    pub(super) published: Vec<PublishedColumns>,
    primary: Columns,
    /// With the name of its subscription.
    replicas: Vec<(String, Columns)>,
    /// What is wrong beside columns.
    unfit: Vec<String>,
    pub(super) has_default: bool,
    /// Whether rows of the primary have no value.
    pub(super) is_unfilled: bool,
    /// The type as the change writes it, as the catalogs write it.
    data_type: String,
}

pub(super) struct PublishedColumns {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    pub(super) row_filter: Option<String>,
}

const COLUMNS: &str = "
    select format('%s.%s', namespace.nspname, class.relname) as table_name, attname::text as column_name,
        format_type(atttypid, atttypmod) as data_type
    from pg_attribute
    join pg_class as class on class.oid = attrelid
    join pg_namespace as namespace on namespace.oid = class.relnamespace
    where attnum > 0 and not attisdropped and format('%s.%s', namespace.nspname, class.relname) = any($1)";

impl Standing {
    pub(super) async fn of(pair: &mut Pair, change: &Change) -> Result<Self, UpkeepError> {
        let primary_failed = on(Side::Primary, "reading its tables");
        let published = published(&mut pair.primary).await.map_err(primary_failed)?;
        let mut tables: Vec<String> =
            published.iter().map(|table| format!("{}.{}", table.schema, table.name)).collect();
        tables.push(change.table.clone());
        let primary = columns(&mut pair.primary, &tables).await.map_err(primary_failed)?;
        let mut unfit = Vec::new();
        let mut replicas = Vec::new();
        for (replica, address) in &mut pair.replicas {
            let failed = on(Side::Replica, "reading its tables");
            replicas.push((address.subscription.clone(), columns(replica, &tables).await.map_err(failed)?));
            unfit.extend(unfit_subscription(replica, &address.subscription).await.map_err(failed)?);
        }
        let seen = PrimaryLook::now(&mut pair.primary).await.map_err(primary_failed)?;
        for slot in seen.replicas() {
            if !replicas.iter().any(|(subscription, _)| *subscription == slot.name) {
                unfit.push(format!("slot {} on the primary is of a replica that was not named", slot.name));
            }
        }
        let mut standing = Self {
            published,
            primary,
            replicas,
            unfit,
            has_default: false,
            is_unfilled: false,
            data_type: written(&mut pair.primary, &change.data_type).await.map_err(primary_failed)?,
        };
        if standing.primary_has(change) {
            let default = "select exists (
                    select from pg_attrdef join pg_attribute on attrelid = adrelid and attnum = adnum
                    where adrelid = $1::text::regclass and attname = $2
                )";
            let default = sqlx::query_scalar(default).bind(change.relation()).bind(&change.column);
            standing.has_default = default.fetch_one(&mut pair.primary).await.map_err(primary_failed)?;
            let unfilled =
                format!("select exists (select from {} where {} is null)", change.relation(), quoted(&change.column));
            let unfilled = sqlx::query_scalar(AssertSqlSafe(unfilled)).fetch_one(&mut pair.primary).await;
            standing.is_unfilled = unfilled.map_err(primary_failed)?;
        }
        Ok(standing)
    }

    pub(super) fn primary_has(&self, change: &Change) -> bool {
        self.primary.contains_key(&key(change))
    }

    pub(super) fn is_published(&self, change: &Change) -> bool {
        self.published.iter().any(|table| {
            (&*table.schema, &*table.name) == (change.schema(), change.name()) && table.columns.contains(&change.column)
        })
    }

    /// Which replicas have the column, in the order in which they were named.
    pub(super) fn replicas_have(&self, change: &Change) -> Vec<bool> {
        self.replicas.iter().map(|(_, columns)| columns.contains_key(&key(change))).collect()
    }

    /// Everything that neither side of the change explains, each in a sentence.
    pub(super) fn drift(&self, change: &Change) -> Vec<String> {
        let mut drift = self.unfit.clone();
        let label = format!("{}.{}", change.table, change.column);
        if !self.primary.keys().any(|(table, _)| *table == change.table) {
            drift.push(format!("the primary has no table {}", change.table));
        } else if !self.published.iter().any(|table| format!("{}.{}", table.schema, table.name) == change.table) {
            drift.push(format!("{} is not published", change.table));
        }
        self.of_published(change, &mut drift);
        for ((table, column), _) in self.primary.iter().filter(|(place, _)| **place != key(change)) {
            let is_published = self.published.iter().any(|published| {
                format!("{}.{}", published.schema, published.name) == *table && published.columns.contains(column)
            });
            if !is_published {
                drift.push(format!("the primary has {table}.{column}, which is not published"));
            }
        }
        let mut sides = vec![("the primary".to_owned(), &self.primary)];
        sides.extend(self.replicas.iter().map(|(name, columns)| (format!("the replica of {name}"), columns)));
        for (side, columns) in &sides {
            match columns.get(&key(change)) {
                Some(found) if *found != self.data_type => {
                    drift.push(format!("{label} is {found} on {side}, and {} in the change", self.data_type));
                }
                None if side != "the primary" && self.primary_has(change) => {
                    drift
                        .push(format!("the primary has {label} and {side} does not: replicas come first, and go last"));
                }
                Some(_) | None => {}
            }
        }
        drift
    }

    /// What is published must be on every replica, in the same type: values travel in binary.
    fn of_published(&self, change: &Change, drift: &mut Vec<String>) {
        for table in &self.published {
            for column in &table.columns {
                let place = (format!("{}.{}", table.schema, table.name), column.clone());
                if place == key(change) {
                    continue;
                }
                let Some(wanted) = self.primary.get(&place) else { continue };
                for (subscription, columns) in &self.replicas {
                    let label = format!("{}.{}", place.0, place.1);
                    match columns.get(&place) {
                        None => drift.push(format!("{label} is published, and the replica of {subscription} lacks it")),
                        Some(found) if found != wanted => drift.push(format!(
                            "{label} is {wanted} on the primary and {found} on the replica of {subscription}"
                        )),
                        Some(_) => {}
                    }
                }
            }
        }
    }
}

fn key(change: &Change) -> (String, String) {
    (change.table.clone(), change.column.clone())
}

async fn columns(connection: &mut PgConnection, tables: &[String]) -> Result<Columns, sqlx::Error> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(COLUMNS).bind(tables).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(table, column, data_type)| ((table, column), data_type)).collect())
}

async fn published(primary: &mut PgConnection) -> Result<Vec<PublishedColumns>, sqlx::Error> {
    let found = Publication::find(&mut *primary, publication()).await?;
    let filters: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "select schemaname::text, tablename::text, rowfilter from pg_publication_tables where pubname = $1",
    )
    .bind(publication())
    .fetch_all(primary)
    .await?;
    let tables = found.map(|found| found.tables).unwrap_or_default().into_iter().map(|table| {
        let filter = filters.iter().find(|(schema, name, _)| *schema == table.schema && *name == table.name);
        let row_filter = filter.and_then(|(_, _, filter)| filter.clone());
        PublishedColumns { schema: table.schema, name: table.name, columns: table.columns, row_filter }
    });
    Ok(tables.collect())
}

async fn unfit_subscription(replica: &mut PgConnection, name: &str) -> Result<Option<String>, sqlx::Error> {
    Ok(match Subscription::find(replica, name).await? {
        None => Some(format!("there is no subscription {name}")),
        Some(found) if !found.enabled => Some(format!("subscription {name} is switched off")),
        Some(found) if found.tables.iter().any(|table| table.state != TableState::Ready) => {
            Some(format!("tables of subscription {name} are still copied"))
        }
        Some(_) => None,
    })
}

/// A type as the catalogs write it.
async fn written(primary: &mut PgConnection, data_type: &str) -> Result<String, sqlx::Error> {
    // The server's own reading: of a column that nobody else sees.
    let create = format!("create temporary table tandem_type on commit drop as select null::{data_type} as value");
    let mut transaction = primary.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *transaction).await?;
    let written = sqlx::query_scalar(
        "select format_type(atttypid, atttypmod) from pg_attribute
        where attrelid = 'pg_temp.tandem_type'::regclass and attname = 'value'",
    )
    .fetch_one(&mut *transaction)
    .await;
    // At once: dropped, it would be open until this connection is used again, and the verifier's slot waits for all that
    // have written.
    transaction.rollback().await?;
    written
}
