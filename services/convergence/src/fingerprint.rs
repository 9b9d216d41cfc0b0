//! What a table holds, in a few numbers: one scan, in one snapshot with all others of its side.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{AssertSqlSafe, Row};
use tandem_replication::{Lsn, Position};

use crate::connect::{Database, Deadline};
use crate::error::{CheckError, Side};
use crate::published::PublishedTable;

/// What a table holds. Two that are equal hold, but for a collision of 64-bit hashes, the same rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fingerprint {
    /// How many rows are published.
    pub rows: u64,
    /// The sum of each integer or numeric column, as decimal text: exact and of any size.
    pub sums: BTreeMap<String, String>,
    /// The sum of the 64-bit hashes of all rows, as decimal text. It is a sum and not an XOR because
    /// XOR lets two equal rows cancel each other.
    pub hash: String,
}

/// The fingerprints of one side by table name, of one snapshot.
pub(crate) type Fingerprints = BTreeMap<String, Fingerprint>;

/// Builds the scan. Every name in it came quoted from the primary's catalogue.
fn statement(table: &PublishedTable, side: Side) -> String {
    let sums: Vec<String> = table.summed.iter().map(|column| format!("coalesce(sum({column}), 0)::text")).collect();
    // Rows that the filter holds back are absent on the replica by design, so only the primary filters.
    let filter = match (&table.row_filter, side) {
        (Some(filter), Side::Primary) => format!(" where {filter}"),
        _ => String::new(),
    };
    format!(
        "select count(*) as rows, \
         coalesce(sum(hash_record_extended(row({columns}), 0)::numeric), 0)::text as hash, \
         array[{sums}]::text[] as sums \
         from {relation}{filter}",
        columns = table.columns.join(", "),
        sums = sums.join(", "),
        relation = table.relation,
    )
}

/// Fingerprints `tables` in one snapshot.
pub(crate) async fn take(
    database: &mut Database,
    tables: &[&PublishedTable],
    deadline: Deadline,
) -> Result<Fingerprints, CheckError> {
    begin(database, deadline).await?;
    let prints = scan(database, tables, deadline).await?;
    execute(database, "commit", deadline).await?;
    Ok(prints)
}

/// Fingerprints `tables` in one snapshot of the primary, and names a position that covers it.
///
/// The position is read after the snapshot was taken and used: every commit that the snapshot sees
/// was in the log by then, so a replica that has applied the log up to there has all of it.
pub(crate) async fn take_with_position(
    primary: &mut Database,
    tables: &[&PublishedTable],
    deadline: Deadline,
) -> Result<(Fingerprints, Lsn), CheckError> {
    const DOING: &str = "reading the log position";
    begin(primary, deadline).await?;
    let prints = scan(primary, tables, deadline).await?;
    let failed = primary.failed(DOING);
    let position = deadline
        .bound(|| DOING.to_owned(), async { Position::current(&mut primary.connection).await.map_err(failed) })
        .await?;
    execute(primary, "commit", deadline).await?;
    Ok((prints, position.lsn))
}

async fn begin(database: &mut Database, deadline: Deadline) -> Result<(), CheckError> {
    execute(database, "begin isolation level repeatable read, read only", deadline).await
}

async fn execute(database: &mut Database, statement: &'static str, deadline: Deadline) -> Result<(), CheckError> {
    let failed = database.failed(statement);
    deadline
        .bound(|| statement.to_owned(), async {
            sqlx::query(statement).execute(&mut database.connection).await.map_err(failed)?;
            Ok(())
        })
        .await
}

async fn scan(
    database: &mut Database,
    tables: &[&PublishedTable],
    deadline: Deadline,
) -> Result<Fingerprints, CheckError> {
    let mut prints = Fingerprints::new();
    for table in tables {
        let side = database.side;
        let print =
            deadline.bound(|| format!("reading {} on the {side}", table.name), scan_one(database, table)).await?;
        prints.insert(table.name.clone(), print);
    }
    Ok(prints)
}

async fn scan_one(database: &mut Database, table: &PublishedTable) -> Result<Fingerprint, CheckError> {
    let side = database.side;
    let read =
        sqlx::query(AssertSqlSafe(statement(table, side))).fetch_one(&mut database.connection).await.and_then(|row| {
            let rows: i64 = row.try_get("rows")?;
            let sums: Vec<String> = row.try_get("sums")?;
            Ok(Fingerprint {
                rows: rows.unsigned_abs(),
                sums: table.summed.iter().cloned().zip(sums).collect(),
                hash: row.try_get("hash")?,
            })
        });
    read.map_err(|source| {
        let table = table.name.clone();
        if is_schema_difference(&source) {
            CheckError::SchemasDiffer { side, table, source }
        } else {
            CheckError::Query { side, doing: format!("reading {table}"), source }
        }
    })
}

/// `undefined_column`, `undefined_table` or `invalid_schema_name`.
fn is_schema_difference(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(&*code, "42703" | "42P01" | "3F000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered() -> PublishedTable {
        PublishedTable {
            name: "s.T".to_owned(),
            relation: "s.\"T\"".to_owned(),
            columns: vec!["a".to_owned(), "\"B\"".to_owned()],
            summed: vec!["a".to_owned()],
            row_filter: Some("(a > 1)".to_owned()),
        }
    }

    #[test]
    fn every_published_column_is_in_the_row_hash() {
        assert!(statement(&filtered(), Side::Replica).contains("row(a, \"B\")"));
    }

    #[test]
    fn the_row_filter_applies_to_the_primary_only() {
        assert!(statement(&filtered(), Side::Primary).ends_with("from s.\"T\" where (a > 1)"));
        assert!(statement(&filtered(), Side::Replica).ends_with("from s.\"T\""));
    }
}
