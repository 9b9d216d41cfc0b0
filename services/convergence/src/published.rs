//! What is published: the tables, their columns, keys and row filters, as both sides have them.

use std::collections::BTreeMap;

use futures::future::try_join;
use serde::Deserialize;
use sqlx::Row;
use sqlx::types::Json;

use crate::connect::Database;
use crate::error::{CheckError, Side};

/// A published table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishedTable {
    /// `schema.table`, for people.
    pub(crate) name: String,
    /// The same, quoted where SQL needs it.
    pub(crate) relation: String,
    /// The published columns in the order of their names, which both sides agree on; the order in the table may differ.
    pub(crate) columns: Vec<Column>,
    /// Which columns tell rows apart, in the order of the key.
    pub(crate) key: Vec<Column>,
    /// Rows for which this does not hold are not replicated.
    pub(crate) row_filter: Option<String>,
    /// What the primary's catalogue says of the whole table.
    on_primary: Shape,
    /// What the replica's says.
    on_replica: Shape,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The name, quoted where SQL needs it.
    pub(crate) quoted: String,
    /// Its type without length and precision, as SQL casts to it; that under it, of a domain.
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    /// With length and precision.
    full_type: String,
    /// Whether the type has a hash that is the same in every database: an enum's goes by the number of its label's row.
    pub(crate) hashable: bool,
    /// Whether values are ordered by a collation, which two machines may have different versions of.
    pub(crate) collatable: bool,
    /// Whether it can be null on neither side.
    pub(crate) not_null: bool,
}

/// What a catalogue says of a table: it changes with DDL and with nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Shape {
    oid: i64,
    replica_identity: String,
    columns: Vec<Column>,
    key: Vec<String>,
}

/// A domain counts as the type under it. Varchar and its like are hashed as text.
const SHAPES: &str = "
    select wanted.name,
           json_build_object(
               'oid', class.oid::bigint,
               'replica_identity', class.relreplident,
               'columns', (
                   select json_agg(json_build_object(
                       'name', attribute.attname,
                       'quoted', quote_ident(attribute.attname),
                       'type', format_type(base.oid, -1),
                       'full_type', format_type(attribute.atttypid, attribute.atttypmod),
                       'hashable', base.typtype = 'b' and (
                           base.typcategory = 'S'
                           or exists (
                               select
                               from pg_opclass as opclass
                               join pg_am as method on method.oid = opclass.opcmethod
                               where method.amname = 'hash' and opclass.opcdefault and opclass.opcintype = base.oid)),
                       'collatable', attribute.attcollation <> 0,
                       'not_null', attribute.attnotnull
                   ) order by attribute.attname collate \"C\")
                   from pg_attribute as attribute
                   join pg_type as type on type.oid = attribute.atttypid
                   join pg_type as base on base.oid = coalesce(nullif(type.typbasetype, 0), type.oid)
                   where attribute.attrelid = class.oid and attribute.attnum > 0 and not attribute.attisdropped),
               'key', (
                   select coalesce(json_agg(attribute.attname order by part.position), '[]')
                   from pg_index as index
                   cross join unnest(index.indkey::smallint[]) with ordinality as part (number, position)
                   join pg_attribute as attribute
                     on attribute.attrelid = class.oid and attribute.attnum = part.number
                   where index.indrelid = class.oid and part.position <= index.indnkeyatts
                     and case when class.relreplident = 'i' then index.indisreplident else index.indisprimary end)
           ) as shape
    from unnest($1::text[], $2::text[]) as wanted (name, relation)
    join pg_class as class on class.oid = to_regclass(wanted.relation)";

const PUBLISHED: &str = "
    select format('%s.%s', schemaname, tablename) as name,
           format('%I.%I', schemaname, tablename) as relation,
           attnames::text[] as columns,
           rowfilter as row_filter
    from pg_publication_tables
    where pubname = $1
    order by 1";

/// A table as the publication names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    relation: String,
    columns: Vec<String>,
    row_filter: Option<String>,
}

/// Reads the tables of a publication, in the order of their names.
pub(crate) async fn tables(
    primary: &mut Database,
    replica: &mut Database,
    publication: &str,
) -> Result<Vec<PublishedTable>, CheckError> {
    let entries = entries(primary, publication).await?;
    let (mut on_primary, mut on_replica) = try_join(shapes(primary, &entries), shapes(replica, &entries)).await?;
    let table = |entry: Entry| {
        let lacking =
            |side| CheckError::SchemasDiffer { side, table: entry.name.clone(), what: "the table".to_owned() };
        let on_primary = on_primary.remove(&entry.name).ok_or_else(|| lacking(Side::Primary))?;
        let on_replica = on_replica.remove(&entry.name).ok_or_else(|| lacking(Side::Replica))?;
        published(entry, on_primary, on_replica)
    };
    entries.into_iter().map(table).collect()
}

/// The names of a publication's tables, in their order.
pub(crate) async fn names(primary: &mut Database, publication: &str) -> Result<Vec<String>, CheckError> {
    let names: Vec<String> = entries(primary, publication).await?.into_iter().map(|entry| entry.name).collect();
    if names.is_empty() {
        return Err(CheckError::NothingPublished { publication: publication.to_owned() });
    }
    Ok(names)
}

/// Whether tables are still what they were when the check began; the first that is not is named.
pub(crate) async fn unchanged(
    side: Side,
    database: &mut Database,
    publication: Option<&str>,
    tables: &[PublishedTable],
) -> Result<(), CheckError> {
    let changed = |table: &PublishedTable| CheckError::SchemaChanged { side, table: table.name.clone() };
    if let Some(publication) = publication {
        let entries = entries(database, publication).await?;
        let named = |table: &PublishedTable| entries.iter().find(|entry| entry.name == table.name);
        let differs = |table: &&PublishedTable| {
            named(table)
                .is_none_or(|entry| entry.row_filter != table.row_filter || entry.columns.len() != table.columns.len())
        };
        if let Some(table) = tables.iter().find(differs) {
            return Err(changed(table));
        }
    }
    let now = shapes_of(database, tables.iter().map(|table| (&table.name, &table.relation))).await?;
    let before = |table: &PublishedTable| match side {
        Side::Primary => table.on_primary.clone(),
        Side::Replica => table.on_replica.clone(),
    };
    match tables.iter().find(|table| now.get(&table.name) != Some(&before(table))) {
        Some(table) => Err(changed(table)),
        None => Ok(()),
    }
}

async fn entries(primary: &mut Database, publication: &str) -> Result<Vec<Entry>, CheckError> {
    primary
        .ask("reading the publication", sqlx::query(PUBLISHED).bind(publication), |row| {
            Ok(Entry {
                name: row.try_get("name")?,
                relation: row.try_get("relation")?,
                columns: row.try_get("columns")?,
                row_filter: row.try_get("row_filter")?,
            })
        })
        .await
}

async fn shapes(database: &mut Database, entries: &[Entry]) -> Result<BTreeMap<String, Shape>, CheckError> {
    shapes_of(database, entries.iter().map(|entry| (&entry.name, &entry.relation))).await
}

async fn shapes_of<'a>(
    database: &mut Database,
    tables: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<BTreeMap<String, Shape>, CheckError> {
    let (names, relations): (Vec<String>, Vec<String>) =
        tables.map(|(name, relation)| (name.clone(), relation.clone())).unzip();
    let query = sqlx::query(SHAPES).bind(names).bind(relations);
    let shapes = database
        .ask("reading the catalogue", query, |row| {
            let Json(shape): Json<Shape> = row.try_get("shape")?;
            Ok((row.try_get("name")?, shape))
        })
        .await?;
    Ok(shapes.into_iter().collect())
}

fn published(entry: Entry, on_primary: Shape, on_replica: Shape) -> Result<PublishedTable, CheckError> {
    let lacks = |side, column: &str| CheckError::SchemasDiffer {
        side,
        table: entry.name.clone(),
        what: format!("column {column}"),
    };
    let mut columns = Vec::new();
    for name in &entry.columns {
        let column = on_primary.column(name).ok_or_else(|| lacks(Side::Primary, name))?;
        let other = on_replica.column(name).ok_or_else(|| lacks(Side::Replica, name))?;
        if column.type_name != other.type_name {
            return Err(CheckError::TypesDiffer {
                column: format!("{}.{name}", entry.name),
                primary: column.type_name.clone(),
                replica: other.type_name.clone(),
            });
        }
        columns.push(Column { not_null: column.not_null && other.not_null, ..column.clone() });
    }
    columns.sort_by(|one, other| one.name.cmp(&other.name));
    let key: Option<Vec<Column>> =
        on_primary.key.iter().map(|name| columns.iter().find(|column| column.name == *name).cloned()).collect();
    let key = key.filter(|key| !key.is_empty()).ok_or_else(|| CheckError::NoKey { table: entry.name.clone() })?;
    let Entry { name, relation, row_filter, .. } = entry;
    Ok(PublishedTable { name, relation, columns, key, row_filter, on_primary, on_replica })
}

impl Shape {
    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn column(name: &str, type_name: &str) -> Column {
        Column {
            name: name.to_owned(),
            quoted: if name.chars().all(char::is_lowercase) { name.to_owned() } else { format!("\"{name}\"") },
            type_name: type_name.to_owned(),
            full_type: type_name.to_owned(),
            hashable: type_name != "json",
            collatable: type_name == "text",
            not_null: true,
        }
    }

    /// `s."T"` with columns `"B"` (text), `a` (integer) and `d` (json), a row filter, and the key that is named.
    pub(crate) fn table(key: &[&str]) -> PublishedTable {
        let columns = vec![column("B", "text"), column("a", "integer"), column("d", "json")];
        let names = key.iter().map(|name| (*name).to_owned()).collect();
        let shape = Shape { oid: 7, replica_identity: "d".to_owned(), columns: columns.clone(), key: names };
        let entry = Entry {
            name: "s.T".to_owned(),
            relation: "s.\"T\"".to_owned(),
            columns: columns.into_iter().map(|column| column.name).collect(),
            row_filter: Some("(a > 1)".to_owned()),
        };
        published(entry, shape.clone(), shape).unwrap()
    }

    #[test]
    fn a_table_without_a_key_is_refused() {
        let shape = table(&["a"]).on_primary;
        let entry = Entry {
            name: "s.T".to_owned(),
            relation: "s.\"T\"".to_owned(),
            columns: vec!["B".to_owned()],
            row_filter: None,
        };
        // The key's column is not published.
        assert!(matches!(published(entry, shape.clone(), shape), Err(CheckError::NoKey { .. })));
    }
}
