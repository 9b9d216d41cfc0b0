//! What the replica's catalogs say of a published table.

use sqlx::{PgConnection, Row as _};

/// A table of the replica.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) oid: i64,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// Columns with their types as SQL writes them; all that it has, also those that the primary lacks.
    pub(crate) columns: Vec<(String, String)>,
    /// Names of the primary key's columns; empty where there is none.
    pub(crate) primary_key: Vec<String>,
    /// The columns of each unique index that holds for all rows, with its name; the primary key is one of them.
    pub(crate) unique: Vec<(String, Vec<String>)>,
}

const TABLE: &str = "
    select class.oid::bigint as oid,
        (
            select array_agg(attname::text order by attnum) from pg_attribute
            where attrelid = class.oid and attnum > 0 and not attisdropped
        ) as columns,
        (
            select array_agg(format_type(atttypid, atttypmod) order by attnum) from pg_attribute
            where attrelid = class.oid and attnum > 0 and not attisdropped
        ) as types,
        coalesce((
            select array_agg(attribute.attname::text order by key.place)
            from pg_index as index, unnest(index.indkey) with ordinality as key (attnum, place)
            join pg_attribute as attribute on attribute.attnum = key.attnum
            where index.indrelid = class.oid and index.indisprimary and attribute.attrelid = class.oid
        ), '{}') as primary_key
    from pg_class as class
    join pg_namespace as namespace on namespace.oid = class.relnamespace
    where namespace.nspname = $1 and class.relname = $2 and class.relkind = 'r'";

const UNIQUE: &str = "
    select format('%s', index.indexrelid::regclass) as name,
        array_agg(attribute.attname::text order by key.place) as columns
    from pg_index as index
    cross join unnest(index.indkey) with ordinality as key (attnum, place)
    join pg_attribute as attribute on attribute.attrelid = index.indrelid and attribute.attnum = key.attnum
    where index.indrelid::bigint = $1 and index.indisunique and index.indpred is null and index.indexprs is null
        and key.place <= index.indnkeyatts
    group by index.indexrelid
    order by 1";

impl Table {
    /// The ordinary table of this name; `None` where there is none.
    pub(crate) async fn find(
        replica: &mut PgConnection,
        schema: &str,
        name: &str,
    ) -> Result<Option<Self>, sqlx::Error> {
        let Some(row) = sqlx::query(TABLE).bind(schema).bind(name).fetch_optional(&mut *replica).await? else {
            return Ok(None);
        };
        let (oid, columns, types): (i64, Vec<String>, Vec<String>) =
            (row.try_get("oid")?, row.try_get("columns")?, row.try_get("types")?);
        let unique = sqlx::query(UNIQUE).bind(oid).fetch_all(replica).await?;
        let unique = unique.iter().map(|row| Ok((row.try_get("name")?, row.try_get("columns")?)));
        Ok(Some(Self {
            oid,
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns: columns.into_iter().zip(types).collect(),
            primary_key: row.try_get("primary_key")?,
            unique: unique.collect::<Result<_, sqlx::Error>>()?,
        }))
    }

    /// `schema.table`, for people.
    pub(crate) fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The same, quoted for SQL.
    pub(crate) fn relation(&self) -> String {
        relation(&self.schema, &self.name)
    }

    /// A column's type as SQL writes it.
    pub(crate) fn type_of(&self, column: &str) -> Option<&str> {
        self.columns.iter().find(|(name, _)| name == column).map(|(_, data_type)| data_type.as_str())
    }
}

/// A table's name, quoted for SQL.
pub(crate) fn relation(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

/// A name, quoted for SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names, quoted for SQL, with commas between them; `prefix` before each.
pub(crate) fn listed<'a>(prefix: &str, names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| format!("{prefix}{}", quoted(name))).collect::<Vec<_>>().join(", ")
}
