//! What a primary publishes.

use serde::Serialize;
use sqlx::PgConnection;

/// The publication that the primary's migrations create.
pub const PUBLICATION: &str = "tandem_publication";

/// A publication with its tables.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Publication {
    /// Its name.
    pub name: String,
    /// Whether inserts are published.
    pub insert: bool,
    /// Whether updates are published.
    pub update: bool,
    /// Whether deletes are published.
    pub delete: bool,
    /// Whether TRUNCATE is published.
    pub truncate: bool,
    /// In order of their names.
    pub tables: Vec<PublishedTable>,
}

/// A published table and which of its columns are published.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PublishedTable {
    /// Its schema.
    pub schema: String,
    /// Its name within the schema.
    pub name: String,
    /// Published columns in the order of the table.
    pub columns: Vec<String>,
}

impl Publication {
    /// The publication of this name; `None` where there is none.
    pub async fn find(connection: &mut PgConnection, name: &str) -> Result<Option<Self>, sqlx::Error> {
        let head = sqlx::query!(
            "
            select pubinsert, pubupdate, pubdelete, pubtruncate
            from pg_catalog.pg_publication
            where pubname = $1::text
            ",
            name
        )
        .fetch_optional(&mut *connection)
        .await?;
        let Some(head) = head else { return Ok(None) };
        let tables = sqlx::query_as!(
            PublishedTable,
            r#"
            select schemaname::text as "schema!", tablename::text as "name!", attnames::text[] as "columns!"
            from pg_catalog.pg_publication_tables
            where pubname = $1::text
            order by schemaname, tablename
            "#,
            name
        )
        .fetch_all(connection)
        .await?;
        Ok(Some(Self {
            name: name.to_owned(),
            insert: head.pubinsert,
            update: head.pubupdate,
            delete: head.pubdelete,
            truncate: head.pubtruncate,
            tables,
        }))
    }

    /// The published columns that the connected database lacks, as `schema.table.column`; where it lacks the table, all
    /// of that table's.
    pub async fn missing_in(&self, connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
        let columns = || self.tables.iter().flat_map(|table| table.columns.iter().map(move |column| (table, column)));
        let schemas: Vec<String> = columns().map(|(table, _)| table.schema.clone()).collect();
        let tables: Vec<String> = columns().map(|(table, _)| table.name.clone()).collect();
        let names: Vec<String> = columns().map(|(_, column)| column.clone()).collect();
        sqlx::query_scalar!(
            r#"
            select format('%s.%s.%s', published.schema_name, published.table_name, published.column_name) as "name!"
            from unnest($1::text[], $2::text[], $3::text[]) as published (schema_name, table_name, column_name)
            where not exists (
                select
                from pg_catalog.pg_attribute as attribute
                join pg_catalog.pg_class as class on class.oid = attribute.attrelid
                join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
                where namespace.nspname = published.schema_name
                    and class.relname = published.table_name
                    and class.relkind in ('r', 'p')
                    and attribute.attname = published.column_name
                    and attribute.attnum > 0
                    and not attribute.attisdropped
            )
            order by 1
            "#,
            &schemas,
            &tables,
            &names,
        )
        .fetch_all(connection)
        .await
    }

    /// The operations that are published, by the names that `CREATE PUBLICATION` gives them.
    pub fn operations(&self) -> Vec<&'static str> {
        [(self.insert, "insert"), (self.update, "update"), (self.delete, "delete"), (self.truncate, "truncate")]
            .into_iter()
            .filter_map(|(published, name)| published.then_some(name))
            .collect()
    }
}
