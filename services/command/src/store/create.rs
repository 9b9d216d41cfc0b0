//! Many new sales in one statement, which is a database transaction of its own.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{item, sale};
use crate::domain::{Command, NewSale};

/// Stores those of these new sales whose request ids are new or absent, and says which.
///
/// One statement: request ids are claimed first, headers are written for what was claimed, items for the headers that
/// were written. Each part reads the one before it, which fixes the order, also that of the rows in the WAL.
pub async fn insert(
    connection: &mut PgConnection,
    commands: &[(&Command, &NewSale)],
    now: DateTime<Utc>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let mut request_id: Vec<Option<Uuid>> = Vec::with_capacity(commands.len());
    let mut payload_hash: Vec<Option<Vec<u8>>> = Vec::with_capacity(commands.len());
    let mut item_ids: Vec<Vec<u8>> = Vec::with_capacity(commands.len());
    let (mut headers, mut lines) = (sale::Columns::default(), item::Columns::default());
    for (command, new) in commands {
        request_id.push(command.request.map(|request| request.request_id));
        payload_hash.push(command.request.map(|request| request.payload_hash.to_vec()));
        headers.push_new(new);
        item_ids.push(new.items().iter().flat_map(|item| item.item_id.into_bytes()).collect());
        new.items().iter().for_each(|item| lines.push(new.transaction_id(), item));
    }
    let stored = sqlx::query_file_scalar!(
        "src/store/create.sql",
        &headers.transaction_id,
        &request_id as &[Option<Uuid>],
        &payload_hash as &[Option<Vec<u8>>],
        &headers.transaction_time,
        &headers.cashier_id,
        &headers.store_id,
        &headers.payment_method,
        &headers.total_amount,
        &headers.total_discount,
        &headers.customer_id as &[Option<i32>],
        now,
        &lines.item_id,
        &lines.transaction_id,
        &lines.product_code,
        &lines.product_name,
        &lines.category as &[Option<String>],
        &lines.quantity,
        &lines.unit_price,
        &lines.discount,
        &lines.total_price,
        &item_ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(stored.into_iter().collect())
}
