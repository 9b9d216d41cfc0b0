//! One command, one database transaction.

use chrono::Utc;
use futures::{FutureExt as _, TryFutureExt as _};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
};
use tandem_replication::{ConsistencyToken, Position, Watermark};
use uuid::Uuid;

use super::{error::StoreError, item, request_id, sale};
use crate::domain::{Change, Command, Etag, Sale, sale::to_microseconds};

/// The primary, as this service uses it.
#[derive(Clone)]
pub struct Store {
    database: Database,
}

/// What a command did. Stored as JSON with its request id, so a field that is added later needs a default.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// This is the sale now.
    Stored(Sale),
    /// The sale is gone.
    Deleted {
        /// Which one.
        transaction_id: Uuid,
        /// The version it had last.
        version: i64,
    },
}

/// The answer to a command.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// What was done.
    pub outcome: Outcome,
    /// Whether it was done by an earlier call with the same request id.
    pub replayed: bool,
    /// Covers the write; `None` where nothing was written, since the command was only to be validated.
    pub token: Option<ConsistencyToken>,
}

impl Outcome {
    /// Names the version that the command left, or deleted.
    pub const fn etag(&self) -> Etag {
        match self {
            Self::Stored(sale) => sale.etag(),
            Self::Deleted { version, .. } => Etag::of_version(*version),
        }
    }
}

impl Store {
    /// Works on this database, which must be the primary.
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Carries the command out as a whole or not at all. It goes on when the caller stops waiting.
    pub async fn execute(&self, command: Command, deadline: Deadline) -> Result<Receipt, StoreError> {
        let validate_only = command.validate_only;
        let (outcome, replayed): (Outcome, bool) =
            self.database.write(deadline, |connection| carry_out(connection, command).boxed()).await?;
        let token = if validate_only { None } else { Some(self.position(deadline).await?.token()) };
        Ok(Receipt { outcome, replayed, token })
    }

    /// Behind everything that has committed before this call: read after COMMIT, never before.
    async fn position(&self, deadline: Deadline) -> Result<Position, StoreError> {
        self.database.read(deadline, |connection| Position::current(connection).err_into().boxed()).await
    }

    /// Writes the watermark row of `writer`.
    pub async fn write_watermark(&self, writer: String, deadline: Deadline) -> Result<Position, DatabaseError> {
        self.database
            .write(deadline, |connection| async move { Ok(Watermark::write(connection, &writer).await?) }.boxed())
            .await
    }
}

async fn carry_out(connection: &mut PgConnection, command: Command) -> Result<(Outcome, bool), StoreError> {
    if command.validate_only {
        let mut rehearsal = connection.begin().await?;
        let outcome = change(&mut rehearsal, command.change).await?;
        rehearsal.rollback().await?;
        return Ok((outcome, false));
    }
    let Some(request) = command.request else {
        return Ok((change(connection, command.change).await?, false));
    };
    // The claim comes first: a concurrent twin waits here for this transaction's end, and does not get as far as an
    // etag that this one is about to change.
    if let Some(outcome) = request_id::claim(connection, request).await? {
        return Ok((outcome, true));
    }
    let outcome = change(connection, command.change).await?;
    request_id::answer(connection, request.request_id, &outcome).await?;
    Ok((outcome, false))
}

async fn change(connection: &mut PgConnection, change: Change) -> Result<Outcome, StoreError> {
    let now = to_microseconds(Utc::now());
    let Some(transaction_id) = change.target() else {
        let Change::Create(new) = change else { unreachable!("only a create has no target") };
        let sale = new.into_sale(now);
        sale::insert(connection, &sale).await?;
        item::insert(connection, sale.transaction_id, &sale.items).await?;
        return Ok(Outcome::Stored(sale));
    };
    let stored = sale::lock(connection, transaction_id).await?;
    let stored = stored.ok_or(StoreError::SaleNotFound { transaction_id })?;
    change.check_etag(&stored)?;
    if let Change::Delete { .. } = change {
        sale::delete(connection, transaction_id).await?;
        return Ok(Outcome::Deleted { transaction_id, version: stored.version });
    }
    let changed = change.applied_to(stored.clone(), now)?;
    replace(connection, &stored, &changed).await?;
    Ok(Outcome::Stored(changed))
}

/// Writes what differs between two versions of a sale.
async fn replace(connection: &mut PgConnection, old: &Sale, new: &Sale) -> Result<(), StoreError> {
    let kept = |id: Uuid| new.items.iter().any(|item| item.item_id == id);
    let removed: Vec<_> = old.items.iter().map(|item| item.item_id).filter(|id| !kept(*id)).collect();
    let before = |id: Uuid| old.items.iter().find(|item| item.item_id == id);
    let (mut added, mut changed) = (Vec::new(), Vec::new());
    for item in &new.items {
        match before(item.item_id) {
            None => added.push(item.clone()),
            Some(old) if old != item => changed.push(item.clone()),
            Some(_) => {}
        }
    }
    sale::update(connection, new).await?;
    item::delete(connection, &removed).await?;
    item::insert(connection, new.transaction_id, &added).await?;
    item::update(connection, &changed).await
}
