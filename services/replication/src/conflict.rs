//! Which row keeps the apply worker from going on.
//!
//! PostgreSQL counts errors of apply and keeps their reasons to its log. Where the reason is a row that is there already,
//! it can be found by looking: what the worker applies next waits in its slot, and the replica has a row of the same key.

use std::{collections::HashSet, fmt, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value as Json};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::{Instant, sleep};

use crate::{
    Lsn, PeekError,
    peek::{What, peek},
};

/// A worker that fails lets go of its slot until it is started again: for at least half a second, as pairs are set up here.
const SLOT_FREE_WITHIN: Duration = Duration::from_secs(8);
/// Between tries to get hold of it.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);
/// The transaction that fails is the first one. Of a larger one than this, only the beginning is looked at.
const MOST_CHANGES: u32 = 10_000;

/// A row of the replica that stands where a change of the primary wants to go.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Conflict {
    /// schema.table.
    pub table: String,
    /// The key that both rows have.
    pub key: Map<String, Json>,
    /// The transaction of the primary that can't be applied.
    pub xid: u32,
    /// Where its COMMIT stands.
    pub commit_lsn: Lsn,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Vec<_> = self.key.iter().map(|(name, value)| format!("{name} = {}", said(value))).collect();
        let Self { table, xid, .. } = self;
        write!(f, "{table} has a row with {} already, which transaction {xid} wants to insert", key.join(", "))
    }
}

fn said(value: &Json) -> &str {
    value.as_str().unwrap_or("null")
}

/// Why no row was looked for.
#[derive(Debug, thiserror::Error)]
pub enum ConflictError {
    /// The slot can't be looked into.
    #[error("what waits to be applied can't be seen")]
    Peek(#[from] PeekError),
    /// The replica can't be asked.
    #[error("the replica can't be asked for the rows")]
    Replica(#[from] sqlx::Error),
}

/// Rows of the replica that stand in the way of the first transaction that `subscription` has not applied. `primary` is a role
/// with REPLICATION there, `replica` a superuser. Gets hold of the slot while the failing worker is not at it.
pub async fn conflicts(
    primary: &mut PgConnection,
    replica: &mut PgConnection,
    subscription: &str,
) -> Result<Vec<Conflict>, ConflictError> {
    let applied = applied(&mut *replica, subscription).await?;
    let deadline = Instant::now() + SLOT_FREE_WITHIN;
    let waiting = loop {
        match peek(&mut *primary, subscription, MOST_CHANGES).await {
            Err(PeekError::InUse { .. }) if Instant::now() < deadline => sleep(BETWEEN_TRIES).await,
            other => break other?,
        }
    };
    // The slot may begin before what is applied: it knows what the worker has confirmed, which comes later.
    let mut waiting = waiting.into_iter().filter(|change| change.commit_lsn >= applied).peekable();
    let Some(first) = waiting.peek().map(|change| change.xid) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    // A row that the same transaction removes before is not in the way.
    let mut removed = HashSet::new();
    for change in waiting.take_while(|change| change.xid == first) {
        match change.what {
            What::Delete { table, key } => {
                removed.insert((table, Json::Object(key).to_string()));
            }
            What::Truncate { .. } => break,
            What::Update { .. } => {}
            What::Insert { table, key, .. } => {
                let gone = removed.contains(&(table.clone(), Json::Object(key.clone()).to_string()));
                if !gone && !key.is_empty() && has_row(&mut *replica, &table, &key).await? {
                    found.push(Conflict { table, key, xid: change.xid, commit_lsn: change.commit_lsn });
                }
            }
        }
    }
    Ok(found)
}

/// Behind the last transaction that was applied. `pg_replication_origin_progress` is right here and not for freshness: it is
/// where the worker takes the stream up again.
async fn applied(replica: &mut PgConnection, subscription: &str) -> Result<Lsn, sqlx::Error> {
    let applied = sqlx::query_scalar!(
        r#"
        select pg_replication_origin_progress(format('pg_%s', oid), false) as "lsn: Lsn"
        from pg_catalog.pg_subscription
        where subname = $1::text
        "#,
        subscription
    )
    .fetch_optional(replica)
    .await?;
    Ok(applied.flatten().unwrap_or_default())
}

/// Values are compared as the column's type has them.
async fn has_row(replica: &mut PgConnection, table: &str, key: &Map<String, Json>) -> Result<bool, sqlx::Error> {
    let (schema, name) = table.split_once('.').unwrap_or(("pg_catalog", table));
    let columns: Vec<String> = key.keys().cloned().collect();
    let values: Vec<Option<String>> = key.values().map(|value| value.as_str().map(str::to_owned)).collect();
    let question = sqlx::query_scalar!(
        r#"
        select format(
            'select exists (select from %I.%I where %s)',
            $1::text, $2::text, string_agg(format('%I = %L', part.name, part.value), ' and ')
        ) as "question!"
        from unnest($3::text[], $4::text[]) as part (name, value)
        "#,
        schema,
        name,
        &columns,
        &values as &[Option<String>],
    )
    .fetch_one(&mut *replica)
    .await?;
    sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(replica).await
}
