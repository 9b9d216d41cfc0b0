//! Table `tandem.request_id`: the first answer to each request id.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{error::StoreError, outcome::Outcome};
use crate::domain::{Command, Request};

/// Ids removed in one statement: a few milliseconds of work, so that removal never holds anything up.
const REMOVED_AT_ONCE: i64 = 5_000;

/// Takes these request ids for the transaction, and says which of them are new.
///
/// Waits for concurrent transactions that hold one of them: whichever way they end, the answer here is final. In the
/// order of the ids, so that two transactions can't wait for each other.
pub async fn claim(
    connection: &mut PgConnection,
    requests: &[Request],
    now: DateTime<Utc>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if requests.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<_> = requests.iter().map(|request| request.request_id).collect();
    let hashes: Vec<_> = requests.iter().map(|request| request.payload_hash.to_vec()).collect();
    let claimed = sqlx::query_scalar!(
        "
        insert into tandem.request_id (request_id, payload_hash, created_at)
        select request_id, payload_hash, $3
        from unnest($1::uuid[], $2::bytea[]) as request (request_id, payload_hash)
        order by request_id
        on conflict (request_id) do nothing
        returning request_id
        ",
        &ids,
        &hashes,
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(claimed.into_iter().collect())
}

/// Stores what was done for request ids that this transaction has claimed.
pub async fn answer(connection: &mut PgConnection, answers: Vec<(Uuid, serde_json::Value)>) -> Result<(), sqlx::Error> {
    if answers.is_empty() {
        return Ok(());
    }
    let (ids, outcomes): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    sqlx::query!(
        "
        update tandem.request_id
        set outcome = answer.outcome
        from unnest($1::uuid[], $2::json[]) as answer (request_id, outcome)
        where request_id.request_id = answer.request_id
        ",
        &ids,
        &outcomes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives back request ids that this transaction has claimed for commands that failed: a retry is a first try.
pub async fn give_back(connection: &mut PgConnection, request_ids: &[Uuid]) -> Result<(), sqlx::Error> {
    if request_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!("delete from tandem.request_id where request_id = any($1)", request_ids).execute(connection).await?;
    Ok(())
}

/// The first answer to a request id.
pub struct First {
    payload_hash: Vec<u8>,
    created_at: DateTime<Utc>,
    /// Of the first new sale.
    transaction_id: Option<Uuid>,
    /// Of its items, and then of each further sale and its items.
    item_ids: Option<Vec<u8>>,
    outcome: Option<Json<Outcome>>,
}

/// The first answers to these request ids.
pub async fn first(connection: &mut PgConnection, request_ids: &[Uuid]) -> Result<HashMap<Uuid, First>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select request_id, payload_hash, created_at, transaction_id, item_ids, outcome as "outcome: Json<Outcome>"
        from tandem.request_id
        where request_id = any($1)
        "#,
        request_ids,
    )
    .fetch_all(connection)
    .await?;
    let first = rows.into_iter().map(|row| {
        let first = First {
            payload_hash: row.payload_hash,
            created_at: row.created_at,
            transaction_id: row.transaction_id,
            item_ids: row.item_ids,
            outcome: row.outcome,
        };
        (row.request_id, first)
    });
    Ok(first.collect())
}

impl First {
    /// The answer to a retry, unless it is another command.
    pub fn replay(self, command: &Command, request: Request) -> Result<Outcome, StoreError> {
        if self.payload_hash != request.payload_hash {
            return Err(StoreError::RequestIdReused { request_id: request.request_id });
        }
        let created_at = self.created_at;
        let first = match (self.outcome, self.transaction_id, self.item_ids, command.change.new_sales()) {
            (Some(Json(outcome)), ..) => Some(outcome),
            (None, Some(transaction_id), Some(further_ids), Some(new)) => {
                let further = further_ids.chunks_exact(16).flat_map(Uuid::from_slice);
                let mut ids = std::iter::once(transaction_id).chain(further);
                let sales: Option<Vec<_>> = new.iter().map(|new| new.stored_before(&mut ids, created_at)).collect();
                // An id too many is no answer to this content either.
                sales.filter(|_| ids.next().is_none()).map(|sales| Outcome::of_new(&command.change, sales))
            }
            _ => None,
        };
        first.ok_or(StoreError::AnswerLost { request_id: request.request_id })
    }
}

/// Removes some of the request ids that are older than `before`, and says how many: fewer than a full portion means
/// that none is left.
pub async fn remove_older(connection: &mut PgConnection, before: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!(
        "
        delete from tandem.request_id
        where request_id = any(
            array(select request_id from tandem.request_id where created_at < $1 limit $2)
        )
        ",
        before,
        REMOVED_AT_ONCE,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}
