//! What goes on beside the readers: nobody may be kept waiting by them, and the log may not pile up.

use std::time::Duration;

use sqlx::Row;

use crate::connect::Database;
use crate::error::CheckError;
use crate::fence::Fences;
use crate::published::PublishedTable;

/// How long somebody who wants to change or empty a table may wait for the readers at most: as long as he waits, everybody
/// who reads or writes that table waits behind him.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// After so many looks the log is let go of, which also tells others that this verifier lives.
const LOOKS_BETWEEN_ADVANCES: u32 = 20;

/// Sees to it until it is dropped; ends only with an error.
pub(crate) async fn watch(
    fences: &mut Fences<'_>,
    tables: &[PublishedTable],
    on_primary: &[i32],
    on_replica: &[i32],
) -> Result<std::convert::Infallible, CheckError> {
    loop {
        for _ in 0..LOOKS_BETWEEN_ADVANCES {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            make_way(&mut fences.primary, tables, on_primary).await?;
            make_way(&mut fences.replica, tables, on_replica).await?;
        }
        fences.advance().await?;
    }
}

/// An error where somebody waits for a lock that only the readers keep from him.
async fn make_way(database: &mut Database, tables: &[PublishedTable], readers: &[i32]) -> Result<(), CheckError> {
    let query = "
        select wanted.name
        from pg_locks as waiting
        join unnest($1::text[], $2::text[]) as wanted (name, relation) on to_regclass(wanted.relation) = waiting.relation
        where not waiting.granted and waiting.locktype = 'relation' and waiting.mode = 'AccessExclusiveLock'
          and waiting.database = (select oid from pg_database where datname = current_database())
          and pg_blocking_pids(waiting.pid) && $3::integer[]
        limit 1";
    let (names, relations): (Vec<&str>, Vec<&str>) =
        tables.iter().map(|table| (table.name.as_str(), table.relation.as_str())).unzip();
    let query = sqlx::query(query).bind(names).bind(relations).bind(readers);
    let wanted: Vec<String> = database.ask("looking for waiting locks", query, |row| row.try_get("name")).await?;
    match wanted.into_iter().next() {
        Some(table) => Err(CheckError::TableWanted { side: database.side, table }),
        None => Ok(()),
    }
}
