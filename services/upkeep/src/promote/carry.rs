//! Rows that no replica has, on their way from the old primary to the new one.

use futures::TryStreamExt as _;
use sqlx::PgConnection;
use tandem_convergence::Side;

use crate::error::{UpkeepError, on};
use crate::sides::Step;
use crate::table::{listed, relation};

/// Bytes that are handed to COPY at once.
const BUFFER: usize = 256 * 1024;
/// Rows between two words about it.
const ROWS_AT_ONCE: u64 = 50_000;

const CARRYING: &str = "carrying rows over";

/// A table that is not published, with the columns that it has on both sides.
pub(super) struct Carried {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: Vec<String>,
}

impl Carried {
    /// What the machinery of a primary keeps for itself, as this database has it. Not where it comes from, which is its own.
    pub(super) async fn all(connection: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        let rows: Vec<(String, String, Vec<String>)> = sqlx::query_as(
            "
            select namespace.nspname::text, class.relname::text, array_agg(attname::text order by attnum)
            from pg_class as class
            join pg_namespace as namespace on namespace.oid = class.relnamespace
            join pg_attribute on attrelid = class.oid and attnum > 0 and not attisdropped
            where class.relkind = 'r' and namespace.nspname in ('sales', 'tandem') and class.relname <> 'promotion'
                and not exists (
                    select from pg_publication_rel
                    join pg_publication as publication on publication.oid = prpubid
                    where prrelid = class.oid and pubname = $1
                )
            group by 1, 2
            order by 1, 2
            ",
        )
        .bind(crate::sides::publication())
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(|(schema, name, columns)| Self { schema, name, columns }).collect())
    }

    /// Copies all rows, in the database transaction that the new primary is in: how many there were. In binary, a few
    /// hundred kilobytes at a time, however many there are.
    pub(super) async fn over(
        &self,
        from: &mut PgConnection,
        to: &mut PgConnection,
        observe: &(impl Fn(&Step) + Sync),
    ) -> Result<u64, UpkeepError> {
        let (reading, writing) = (on(Side::Primary, CARRYING), on(Side::Replica, CARRYING));
        let (table, columns) = (relation(&self.schema, &self.name), listed("", &self.columns));
        let label = format!("{}.{}", self.schema, self.name);
        observe(&Step::Carrying(label.clone(), 0));
        let out = format!("copy {table} ({columns}) to stdout (format binary)");
        let mut rows = from.copy_out_raw(&out).await.map_err(reading)?;
        let into = format!("copy {table} ({columns}) from stdin (format binary)");
        let mut sink = to.copy_in_raw(&into).await.map_err(writing)?;
        let (mut taken, mut buffer) = (0, Vec::with_capacity(BUFFER));
        // The server sends a row at a time.
        while let Some(row) = rows.try_next().await.map_err(reading)? {
            buffer.extend_from_slice(&row);
            taken += 1;
            if buffer.len() >= BUFFER {
                sink.send(std::mem::take(&mut buffer)).await.map_err(writing)?;
            }
            if taken % ROWS_AT_ONCE == 0 {
                observe(&Step::Carrying(label.clone(), taken));
            }
        }
        sink.send(buffer).await.map_err(writing)?;
        sink.finish().await.map_err(writing)
    }
}
