//! Table `tandem.request_id`: the first answer to each request id.

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{error::StoreError, execute::Outcome};
use crate::domain::Request;

/// Takes the request id for this transaction: `None` when it is new, the first answer when it was carried out before.
///
/// Waits for a concurrent transaction that holds the same id: whichever way that ends, the answer here is final.
pub async fn claim(connection: &mut PgConnection, request: Request) -> Result<Option<Outcome>, StoreError> {
    let claimed = sqlx::query!(
        "
        insert into tandem.request_id (request_id, payload_hash)
        values ($1, $2)
        on conflict (request_id) do nothing
        ",
        request.request_id,
        &request.payload_hash[..],
    )
    .execute(&mut *connection)
    .await?;
    if claimed.rows_affected() == 1 {
        return Ok(None);
    }
    let first = sqlx::query!(
        r#"
        select payload_hash, response as "response!: Json<Outcome>"
        from tandem.request_id
        where request_id = $1
        "#,
        request.request_id,
    )
    .fetch_one(connection)
    .await?;
    if first.payload_hash != request.payload_hash {
        return Err(StoreError::RequestIdReused { request_id: request.request_id });
    }
    Ok(Some(first.response.0))
}

/// Stores the first answer to a request id that this transaction has claimed.
pub async fn answer(connection: &mut PgConnection, request_id: Uuid, outcome: &Outcome) -> Result<(), StoreError> {
    let response = serde_json::to_value(outcome).map_err(StoreError::Answer)?;
    sqlx::query!("update tandem.request_id set response = $2 where request_id = $1", request_id, response)
        .execute(connection)
        .await?;
    Ok(())
}
