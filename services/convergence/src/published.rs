//! What is published: the tables, their columns and their row filters, as the primary has them.

use sqlx::Row;

use crate::connect::{Database, Deadline};
use crate::error::CheckError;

/// A published table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishedTable {
    /// `schema.table`, for people.
    pub(crate) name: String,
    /// The same, quoted where SQL needs it.
    pub(crate) relation: String,
    /// The published columns, quoted where SQL needs it, in the order of their names, which both sides agree on;
    /// the order in the table may differ.
    pub(crate) columns: Vec<String>,
    /// Those of the columns whose values can be summed exactly.
    pub(crate) summed: Vec<String>,
    /// Rows for which this does not hold are not replicated.
    pub(crate) row_filter: Option<String>,
}

/// A domain counts as the type under it.
const PUBLISHED_TABLES: &str = "
    select format('%s.%s', published.schemaname, published.tablename) as name,
           format('%I.%I', published.schemaname, published.tablename) as relation,
           published.rowfilter as row_filter,
           array_agg(quote_ident(attribute.attname) order by attribute.attname) as columns,
           coalesce(
               array_agg(quote_ident(attribute.attname) order by attribute.attname)
                   filter (where coalesce(nullif(type.typbasetype, 0), type.oid)
                       in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype)),
               '{}') as summed
    from pg_publication_tables as published
    join pg_attribute as attribute
      on attribute.attrelid = format('%I.%I', published.schemaname, published.tablename)::regclass
     and attribute.attname = any(published.attnames)
    join pg_type as type on type.oid = attribute.atttypid
    where published.pubname = $1
    group by published.schemaname, published.tablename, published.rowfilter
    order by 1";

/// Reads the tables of a publication, in the order of their names.
pub(crate) async fn tables(
    primary: &mut Database,
    publication: &str,
    deadline: Deadline,
) -> Result<Vec<PublishedTable>, CheckError> {
    const DOING: &str = "reading the publication";
    let failed = primary.failed(DOING);
    let tables = deadline
        .bound(|| DOING.to_owned(), async {
            let rows = sqlx::query(PUBLISHED_TABLES).bind(publication).fetch_all(&mut primary.connection).await;
            rows.and_then(|rows| {
                rows.into_iter()
                    .map(|row| {
                        Ok(PublishedTable {
                            name: row.try_get("name")?,
                            relation: row.try_get("relation")?,
                            columns: row.try_get("columns")?,
                            summed: row.try_get("summed")?,
                            row_filter: row.try_get("row_filter")?,
                        })
                    })
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(failed)
        })
        .await?;
    if tables.is_empty() {
        return Err(CheckError::NothingPublished { publication: publication.to_owned() });
    }
    Ok(tables)
}
