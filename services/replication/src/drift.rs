//! Where the tables of both sides have grown apart: changes of the schema are not replicated.
//!
//! Catalogs are open to every role that may connect, also those columns that it may not read: so a role that sees no sale
//! sees all of this.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use sqlx::PgConnection;

/// A column of a published table, as the primary has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PrimaryColumn {
    /// schema.table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// As `format_type` writes it: `numeric(12,2)`.
    pub type_name: String,
    /// Whether the publication has it.
    pub published: bool,
}

/// A column of a published or subscribed table, as the replica has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReplicaColumn {
    /// schema.table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// As `format_type` writes it.
    pub type_name: String,
    /// Whether a row must bring a value for it: it may not be null, and does not fill itself in.
    pub needs_value: bool,
    /// Whether it fills itself in: by a default, an identity or an expression.
    pub fills_itself: bool,
}

/// A difference between what is published and what the replica can take.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Drift {
    /// schema.table.
    pub table: String,
    /// The column; `None` where it is the whole table.
    pub column: Option<String>,
    /// What differs.
    #[serde(flatten)]
    pub kind: DriftKind,
}

/// What differs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DriftKind {
    /// The table is published, and the replica has none.
    TableMissing,
    /// The table is published and the replica has it, but the subscription has not been refreshed since.
    TableNotSubscribed,
    /// The subscription still fills the table, and it is published no more.
    TableNotPublished,
    /// The column is published, and the replica's table has none.
    ColumnMissing,
    /// Both have the column, of different types: values travel in binary.
    TypeDiffers {
        /// The primary's.
        primary_type: String,
        /// The replica's.
        replica_type: String,
    },
    /// The replica's table wants a value that is not published and that it does not fill in by itself.
    ValueRequired,
    /// The primary's table has the column, and it is not published.
    ColumnNotPublished,
    /// The replica's table alone has the column, and does not fill it in by itself.
    ColumnOnlyOnReplica,
}

impl DriftKind {
    /// Whether the apply worker fails at the next change of the table.
    pub const fn stops_apply(&self) -> bool {
        match self {
            Self::TableMissing | Self::ColumnMissing | Self::TypeDiffers { .. } | Self::ValueRequired => true,
            Self::TableNotSubscribed
            | Self::TableNotPublished
            | Self::ColumnNotPublished
            | Self::ColumnOnlyOnReplica => false,
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table)?;
        if let Some(column) = &self.column {
            write!(f, ".{column}")?;
        }
        match &self.kind {
            DriftKind::TableMissing | DriftKind::ColumnMissing => {
                f.write_str(" is published and missing on the replica")
            }
            DriftKind::TableNotSubscribed => f.write_str(" is published and not subscribed to"),
            DriftKind::TableNotPublished => f.write_str(" is subscribed to and not published any more"),
            DriftKind::TypeDiffers { primary_type, replica_type } => {
                write!(f, " is {primary_type} on the primary and {replica_type} on the replica")
            }
            DriftKind::ValueRequired => f.write_str(" must have a value on the replica and gets none"),
            DriftKind::ColumnNotPublished => f.write_str(" is on the primary and not published"),
            DriftKind::ColumnOnlyOnReplica => f.write_str(" is on the replica alone"),
        }
    }
}

/// The columns of every table of a publication, as the connected primary has them.
pub async fn published_columns(
    connection: &mut PgConnection,
    publication: &str,
) -> Result<Vec<PrimaryColumn>, sqlx::Error> {
    sqlx::query_as!(
        PrimaryColumn,
        r#"
        select
            format('%s.%s', published.schemaname, published.tablename) as "table!",
            attribute.attname::text as "name!",
            format_type(attribute.atttypid, attribute.atttypmod) as "type_name!",
            attribute.attname = any (published.attnames) as "published!"
        from pg_catalog.pg_publication_tables as published
        join pg_catalog.pg_namespace as namespace on namespace.nspname = published.schemaname
        join pg_catalog.pg_class as class
            on class.relnamespace = namespace.oid and class.relname = published.tablename
        join pg_catalog.pg_attribute as attribute on attribute.attrelid = class.oid
        where published.pubname = $1::text and attribute.attnum > 0 and not attribute.attisdropped
        order by 1, attribute.attnum
        "#,
        publication
    )
    .fetch_all(connection)
    .await
}

/// The columns of every table that the connected replica has and that is among `tables` (schema.table) or filled by a
/// subscription.
pub async fn replica_columns(
    connection: &mut PgConnection,
    subscription: &str,
    tables: &[String],
) -> Result<Vec<ReplicaColumn>, sqlx::Error> {
    sqlx::query_as!(
        ReplicaColumn,
        r#"
        select
            format('%s.%s', namespace.nspname, class.relname) as "table!",
            attribute.attname::text as "name!",
            format_type(attribute.atttypid, attribute.atttypmod) as "type_name!",
            attribute.attnotnull and not attribute.atthasdef and attribute.attidentity = '' as "needs_value!",
            attribute.atthasdef or attribute.attidentity <> '' as "fills_itself!"
        from pg_catalog.pg_class as class
        join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
        join pg_catalog.pg_attribute as attribute on attribute.attrelid = class.oid
        where class.relkind in ('r', 'p') and attribute.attnum > 0 and not attribute.attisdropped
            and (
                format('%s.%s', namespace.nspname, class.relname) = any ($2::text[])
                or exists (
                    select from pg_catalog.pg_subscription_rel as relation
                    join pg_catalog.pg_subscription as subscribed on subscribed.oid = relation.srsubid
                    where relation.srrelid = class.oid and subscribed.subname = $1::text
                )
            )
        order by 1, attribute.attnum
        "#,
        subscription,
        tables,
    )
    .fetch_all(connection)
    .await
}

/// Every difference, in the order of tables and of their columns. `subscribed` are the subscription's tables (schema.table).
pub fn drifts(primary: &[PrimaryColumn], replica: &[ReplicaColumn], subscribed: &[String]) -> Vec<Drift> {
    let published = by_table(primary, |column| &column.table);
    let there = by_table(replica, |column| &column.table);
    let of = |table: &str, kind| Drift { table: table.to_owned(), column: None, kind };
    let mut found = Vec::new();
    for (table, columns) in &published {
        let Some(own) = there.get(table) else {
            found.push(of(table, DriftKind::TableMissing));
            continue;
        };
        if !subscribed.iter().any(|name| name == table) {
            found.push(of(table, DriftKind::TableNotSubscribed));
        }
        found.extend(of_published(columns, own));
        found.extend(of_further(columns, own));
    }
    let no_more = subscribed.iter().filter(|table| !published.contains_key(table.as_str()));
    found.extend(no_more.map(|table| of(table, DriftKind::TableNotPublished)));
    found
}

/// What became of the primary's columns.
fn of_published(primary: &[&PrimaryColumn], replica: &[&ReplicaColumn]) -> Vec<Drift> {
    let kind = |column: &PrimaryColumn| match replica.iter().find(|own| own.name == column.name) {
        _ if !column.published => Some(DriftKind::ColumnNotPublished),
        None => Some(DriftKind::ColumnMissing),
        Some(own) if own.type_name != column.type_name => {
            Some(DriftKind::TypeDiffers { primary_type: column.type_name.clone(), replica_type: own.type_name.clone() })
        }
        Some(_) => None,
    };
    let drift = |column: &&PrimaryColumn| {
        let (table, name) = (column.table.clone(), column.name.clone());
        kind(column).map(|kind| Drift { table, column: Some(name), kind })
    };
    primary.iter().filter_map(drift).collect()
}

/// Columns of the replica that the stream does not fill.
fn of_further(primary: &[&PrimaryColumn], replica: &[&ReplicaColumn]) -> Vec<Drift> {
    let kind = |own: &ReplicaColumn| match primary.iter().find(|column| column.name == own.name) {
        Some(column) if column.published => None,
        _ if own.needs_value => Some(DriftKind::ValueRequired),
        None if !own.fills_itself => Some(DriftKind::ColumnOnlyOnReplica),
        _ => None,
    };
    let drift = |own: &&ReplicaColumn| {
        let (table, name) = (own.table.clone(), own.name.clone());
        kind(own).map(|kind| Drift { table, column: Some(name), kind })
    };
    replica.iter().filter_map(drift).collect()
}

fn by_table<C>(columns: &[C], table: impl Fn(&C) -> &String) -> BTreeMap<&str, Vec<&C>> {
    let mut tables = BTreeMap::<&str, Vec<&C>>::new();
    for column in columns {
        tables.entry(table(column).as_str()).or_default().push(column);
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::{PrimaryColumn, ReplicaColumn, drifts};

    fn primary(name: &str, type_name: &str, published: bool) -> PrimaryColumn {
        let (name, type_name) = (name.to_owned(), type_name.to_owned());
        PrimaryColumn { table: "sales.item".to_owned(), name, type_name, published }
    }

    fn replica(name: &str, type_name: &str, needs_value: bool, fills_itself: bool) -> ReplicaColumn {
        let (name, type_name) = (name.to_owned(), type_name.to_owned());
        ReplicaColumn { table: "sales.item".to_owned(), name, type_name, needs_value, fills_itself }
    }

    fn said(primary: &[PrimaryColumn], replica: &[ReplicaColumn], subscribed: &str) -> Vec<(String, bool)> {
        let found = drifts(primary, replica, &[subscribed.to_owned()]);
        found.into_iter().map(|drift| (drift.to_string(), drift.kind.stops_apply())).collect()
    }

    #[test]
    fn equal_tables_and_what_the_replica_fills_in_by_itself_are_no_drift() {
        let here = [replica("id", "uuid", true, false), replica("applied_xid", "bigint", false, true)];
        assert!(said(&[primary("id", "uuid", true)], &here, "sales.item").is_empty());
    }

    #[test]
    fn each_difference_is_named_with_what_it_does_to_apply() {
        let there = [primary("id", "uuid", true), primary("colour", "text", true), primary("size", "text", false)];
        let here = [
            replica("id", "text", true, false),
            replica("weight", "text", true, false),
            replica("note", "text", false, false),
        ];
        let expected = [
            ("sales.item is published and not subscribed to", false),
            ("sales.item.id is uuid on the primary and text on the replica", true),
            ("sales.item.colour is published and missing on the replica", true),
            ("sales.item.size is on the primary and not published", false),
            ("sales.item.weight must have a value on the replica and gets none", true),
            ("sales.item.note is on the replica alone", false),
            ("sales.old is subscribed to and not published any more", false),
        ];
        assert_eq!(said(&there, &here, "sales.old"), expected.map(|(text, stops)| (text.to_owned(), stops)));
        let missing = ("sales.item is published and missing on the replica".to_owned(), true);
        assert_eq!(said(&there, &[], "sales.item"), [missing]);
    }
}
