//! What the old primary publishes, as the new one has to.

use sqlx::PgConnection;

use super::shape::Shape;
use crate::sides::publication;
use crate::table::{listed, relation};

/// Schema, name, published columns, row filter.
type Row = (String, String, Option<Vec<String>>, Option<String>);

/// A published table of the old primary.
pub(super) struct Published {
    pub(super) schema: String,
    pub(super) name: String,
    /// The published columns; `None`: all that it has, or will have.
    columns: Option<Vec<String>>,
    filter: Option<String>,
    pub(super) shape: Shape,
}

impl Published {
    pub(super) async fn all(primary: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        let rows: Vec<Row> = sqlx::query_as(
            "
            select namespace.nspname::text, class.relname::text,
                (
                    select array_agg(attname::text order by attnum) from pg_attribute
                    where attrelid = prrelid and attnum = any(prattrs)
                ),
                pg_get_expr(prqual, prrelid)
            from pg_publication_rel
            join pg_publication as publication on publication.oid = prpubid
            join pg_class as class on class.oid = prrelid
            join pg_namespace as namespace on namespace.oid = class.relnamespace
            where pubname = $1
            order by 1, 2
            ",
        )
        .bind(publication())
        .fetch_all(&mut *primary)
        .await?;
        let mut all = Vec::new();
        for (schema, name, columns, filter) in rows {
            // A partitioned table has no shape of the kind: it is told of as one that is missing.
            if let Some(shape) = Shape::find(primary, &schema, &name).await? {
                all.push(Self { schema, name, columns, filter, shape });
            }
        }
        Ok(all)
    }

    /// `schema.table`.
    pub(super) fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The same, quoted for SQL.
    pub(super) fn relation(&self) -> String {
        relation(&self.schema, &self.name)
    }

    /// Whether its rows stay where they are. Those of the machinery are few, and the new primary's own tables take them: a
    /// view of the primary's may stand on them.
    pub(super) fn stays(&self) -> bool {
        self.schema != "tandem"
    }

    /// Whether part of a table is published, which a replica's rows can't be a primary's for.
    pub(super) fn hindrances(&self) -> Vec<String> {
        let label = self.label();
        let mut hindrances: Vec<String> =
            self.shape.hindrances.iter().map(|hindrance| format!("{label}: {hindrance}")).collect();
        if self.filter.is_some() {
            hindrances.push(format!("{label}: only a part of its rows is published, so the replica lacks the others"));
        }
        let published = |name: &String| self.columns.as_ref().is_none_or(|columns| columns.contains(name));
        let unpublished = self.shape.columns.iter().map(|column| &column.name).filter(|name| !published(name));
        hindrances.extend(unpublished.map(|name| format!("{label}: its column {name} is not published")));
        hindrances
    }

    /// As ALTER PUBLICATION names it.
    pub(super) fn listed(&self) -> String {
        match &self.columns {
            Some(columns) => format!("{} ({})", self.relation(), listed("", columns)),
            None => self.relation(),
        }
    }
}
