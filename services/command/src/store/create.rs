//! New sales of many commands in one statement, which is a database transaction of its own.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, postgres::PgDatabaseError};
use uuid::Uuid;

use super::{item, sale};
use crate::domain::{Command, NewSale};

/// Characters of a UUID as PostgreSQL writes it.
const UUID_LENGTH: usize = 36;

/// A command that stores new sales, at least one.
pub struct Creation<'a> {
    pub command: &'a Command,
    pub new: &'a [NewSale],
}

impl<'a> Creation<'a> {
    /// `None` for a command that does something else.
    pub fn of(command: &'a Command) -> Option<Self> {
        Some(Self { command, new: command.change.new_sales()? })
    }

    /// The id of its first sale: the sales of one command are stored together, so that it stands for them all.
    pub fn name(&self) -> Uuid {
        self.new[0].transaction_id()
    }
}

/// Request ids to claim, in columns.
#[derive(Default)]
struct Claims {
    request_id: Vec<Uuid>,
    payload_hash: Vec<Vec<u8>>,
    transaction_id: Vec<Uuid>,
    item_ids: Vec<Vec<u8>>,
}

impl Claims {
    fn push(&mut self, creation: &Creation<'_>) {
        let Some(request) = creation.command.request else { return };
        self.request_id.push(request.request_id);
        self.payload_hash.push(request.payload_hash.to_vec());
        self.transaction_id.push(creation.name());
        // Its own id stands in a column of its own.
        let further = creation.new.iter().flat_map(NewSale::ids).skip(1);
        self.item_ids.push(further.flat_map(Uuid::into_bytes).collect());
    }
}

/// The command that the database refused, where it says so: a violated check is reported with the row, which begins with
/// its key. What is not found this way is found by trying.
pub fn refused(error: &sqlx::Error, creations: &[Creation<'_>]) -> Option<usize> {
    let detail = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?.detail()?;
    let (_, row) = detail.split_once('(')?;
    let key = Uuid::try_parse(row.get(..UUID_LENGTH)?).ok()?;
    let has_key = |creation: &Creation<'_>| creation.new.iter().flat_map(NewSale::ids).any(|id| id == key);
    creations.iter().position(has_key)
}

/// Stores the new sales of those commands whose request ids are new or absent, and says which sales those are.
///
/// One statement: request ids are claimed first, headers are written for what was claimed, items for the headers that
/// were written. Each part reads the one before it, which fixes the order, also that of the rows in the WAL.
pub async fn insert(
    connection: &mut PgConnection,
    creations: &[Creation<'_>],
    now: DateTime<Utc>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let mut claims = Claims::default();
    // The claim that a sale needs: `None` for a command without a request id.
    let mut claim: Vec<Option<Uuid>> = Vec::with_capacity(creations.len());
    let (mut headers, mut lines) = (sale::Columns::default(), item::Columns::default());
    for creation in creations {
        claims.push(creation);
        let needed = creation.command.request.map(|_| creation.name());
        for new in creation.new {
            claim.push(needed);
            headers.push_new(new);
            new.items().iter().for_each(|item| lines.push(new.transaction_id(), item));
        }
    }
    let stored = sqlx::query_file_scalar!(
        "src/store/create.sql",
        now,
        &claims.request_id,
        &claims.payload_hash,
        &claims.transaction_id,
        &claims.item_ids,
        &headers.transaction_id,
        &claim as &[Option<Uuid>],
        &headers.transaction_time,
        &headers.cashier_id,
        &headers.store_id,
        &headers.payment_method,
        &headers.total_amount,
        &headers.total_discount,
        &headers.customer_id as &[Option<i32>],
        &lines.item_id,
        &lines.transaction_id,
        &lines.product_code,
        &lines.product_name,
        &lines.category as &[Option<String>],
        &lines.quantity,
        &lines.unit_price,
        &lines.discount,
        &lines.total_price,
    )
    .fetch_all(connection)
    .await?;
    Ok(stored.into_iter().collect())
}
