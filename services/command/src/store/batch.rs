//! Many callers' commands, one database transaction.
//!
//! A command that the stored sales don't allow (no such sale, another etag, a wrong total) fails alone: it is known
//! before anything is written. What only the database can refuse fails the whole batch, and nothing of it is written:
//! the caller splits it until the culprit stands alone.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgTransaction};
use tandem_chassis::database::DatabaseError;
use uuid::Uuid;

use super::{
    connection::LaneConnection,
    create::{self, Creation},
    culprit,
    error::{BatchError, StoreError},
    item,
    outcome::Outcome,
    outcome::Receipt,
    request_id, sale,
};
use crate::{
    domain::{Change, Command, Request, Sale, check_etag, sale::to_microseconds},
    failpoint::Failpoint,
};

type Results = Vec<Result<Receipt, StoreError>>;
type Outcomes = Vec<Result<Outcome, StoreError>>;

/// Carries the commands out, in their order, and gives each its answer; no two may have the same request id.
///
/// `patience` bounds each statement where commands wait for locks. An error is one of the whole batch.
pub async fn write(
    lane: &mut LaneConnection,
    commands: &[&Command],
    patience: Duration,
) -> Result<Results, BatchError> {
    let now = to_microseconds(Utc::now());
    let creations: Option<Vec<_>> = commands.iter().map(|command| Creation::of(command)).collect();
    Failpoint::BeforeBegin.pass().await;
    let done = match creations {
        Some(creations) => create_all(&mut lane.connection, &creations, now).await?,
        None => change_all(&mut lane.connection, commands, patience).await?,
    };
    Failpoint::AfterCommit.pass().await;
    // After COMMIT, never before: this covers it.
    let token = lane.position().await.map_err(outcome_unknown)?.token();
    let receipt = |(outcome, replayed)| Receipt { outcome, replayed, token: Some(token) };
    Ok(done.into_iter().map(|done| done.map(receipt)).collect())
}

/// The refusal of one command, which names the sale that was refused where the command stores several.
pub async fn name_culprit(lane: &mut LaneConnection, command: &Command, refusal: StoreError) -> StoreError {
    match &command.change {
        Change::CreateAll(new) => culprit::name(&mut lane.connection, new, refusal).await,
        Change::Create(_) | Change::Existing { .. } => refusal,
    }
}

type Done = Vec<Result<(Outcome, bool), StoreError>>;

/// New sales only: one statement, which commits by itself.
async fn create_all(
    connection: &mut PgConnection,
    creations: &[Creation<'_>],
    now: DateTime<Utc>,
) -> Result<Done, BatchError> {
    let stored = create::insert(&mut *connection, creations, now).await.map_err(|error| {
        let culprit = create::refused(&error, creations);
        match error.into() {
            // The statement may have committed before the connection broke.
            StoreError::Database(error @ DatabaseError::Unavailable { .. }) => outcome_unknown(error).into(),
            error => BatchError { error, culprit },
        }
    })?;
    let is_stored = |creation: &Creation<'_>| stored.contains(&creation.name());
    let left = creations.iter().filter(|creation| !is_stored(creation)).filter_map(|creation| creation.command.request);
    let left: Vec<_> = left.map(|request| request.request_id).collect();
    let mut first = first_answers(connection, &left).await.map_err(outcome_unknown)?;
    let done = |creation: &Creation<'_>| {
        if !is_stored(creation) {
            return replay(creation.command, &mut first);
        }
        let sales = creation.new.iter().map(|new| new.stored_at(now)).collect();
        Ok((Outcome::of_new(&creation.command.change, sales), false))
    };
    Ok(creations.iter().map(done).collect())
}

/// Any commands: one transaction of several statements, however many commands there are.
async fn change_all(
    connection: &mut PgConnection,
    commands: &[&Command],
    patience: Duration,
) -> Result<Done, StoreError> {
    let mut transaction = begin(connection, patience).await?;
    let requests: Vec<Request> = commands.iter().filter_map(|command| command.request).collect();
    let claimed = request_id::claim(&mut transaction, &requests, Utc::now()).await?;
    let is_new = |command: &Command| command.request.is_none_or(|request| claimed.contains(&request.request_id));
    let left: Vec<_> =
        commands.iter().filter(|command| !is_new(command)).filter_map(|c| c.request).map(|r| r.request_id).collect();
    let mut first = first_answers(&mut transaction, &left).await?;

    let new: Vec<_> = commands.iter().copied().filter(|command| is_new(command)).collect();
    let changes: Vec<_> = new.iter().map(|command| &command.change).collect();
    let outcomes = apply(&mut transaction, &changes).await?;
    keep_answers(&mut transaction, &new, &outcomes).await?;
    Failpoint::BeforeCommit.pass().await;
    transaction.commit().await.map_err(DatabaseError::from_commit)?;

    let mut outcomes = outcomes.into_iter();
    let done = |command: &&Command| {
        if is_new(command) {
            return outcomes.next().expect("each new command has an outcome").map(|outcome| (outcome, false));
        }
        replay(command, &mut first)
    };
    Ok(commands.iter().map(done).collect())
}

async fn begin(connection: &mut PgConnection, patience: Duration) -> Result<PgTransaction<'_>, sqlx::Error> {
    // Zero would mean no limit.
    let limit = patience.as_millis().clamp(1, i32::MAX as u128);
    connection.begin_with(AssertSqlSafe(format!("begin; set local statement_timeout = {limit}"))).await
}

async fn first_answers(
    connection: &mut PgConnection,
    request_ids: &[Uuid],
) -> Result<HashMap<Uuid, request_id::First>, DatabaseError> {
    if request_ids.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(request_id::first(connection, request_ids).await?)
}

fn replay(command: &Command, first: &mut HashMap<Uuid, request_id::First>) -> Result<(Outcome, bool), StoreError> {
    let request = command.request.expect("only a command with a request id can have been carried out before");
    let first = first.remove(&request.request_id).ok_or(StoreError::AnswerLost { request_id: request.request_id })?;
    Ok((first.replay(command, request)?, true))
}

/// Keeps the answers of those that succeeded with their request ids, and gives the ids of the others back.
async fn keep_answers(
    connection: &mut PgConnection,
    commands: &[&Command],
    outcomes: &Outcomes,
) -> Result<(), StoreError> {
    let (mut answers, mut failed) = (Vec::new(), Vec::new());
    for (command, outcome) in commands.iter().zip(outcomes) {
        match (command.request, outcome) {
            (None, _) => {}
            (Some(request), Ok(outcome)) => {
                answers.push((request.request_id, serde_json::to_value(outcome).map_err(StoreError::Answer)?));
            }
            (Some(request), Err(_)) => failed.push(request.request_id),
        }
    }
    request_id::answer(&mut *connection, answers).await?;
    Ok(request_id::give_back(connection, &failed).await?)
}

/// Makes the changes, in their order, and says of each what it did.
pub async fn apply(connection: &mut PgConnection, changes: &[&Change]) -> Result<Outcomes, StoreError> {
    let targets: HashSet<Uuid> = changes.iter().filter_map(|change| change.target()).collect();
    let mut stored = HashMap::new();
    let mut unreadable = HashMap::new();
    for (id, found) in sale::lock(&mut *connection, &targets.into_iter().collect::<Vec<_>>()).await? {
        match found {
            Ok(sale) => drop(stored.insert(id, sale)),
            Err(violation) => drop(unreadable.insert(id, violation)),
        }
    }
    let mut current: HashMap<Uuid, Sale> = stored.clone();
    // Read once the locks are held: whoever waited for them changes the sale after the one who held them.
    let now = to_microseconds(Utc::now());
    let outcomes = changes.iter().map(|change| match change.target() {
        Some(id) if unreadable.contains_key(&id) => Err(StoreError::StoredSaleInvalid(unreadable[&id].clone())),
        _ => change_one(change, &mut current, now),
    });
    let outcomes: Outcomes = outcomes.collect();
    write_differences(connection, &stored, &current).await?;
    Ok(outcomes)
}

fn change_one(change: &Change, current: &mut HashMap<Uuid, Sale>, now: DateTime<Utc>) -> Result<Outcome, StoreError> {
    let (transaction_id, etag, action) = match change {
        Change::Create(_) | Change::CreateAll(_) => {
            let sales: Vec<_> = change.new_sales().into_iter().flatten().map(|new| new.stored_at(now)).collect();
            current.extend(sales.iter().map(|sale| (sale.transaction_id, sale.clone())));
            return Ok(Outcome::of_new(change, sales));
        }
        Change::Existing { transaction_id, etag, action } => (*transaction_id, *etag, action),
    };
    let sale = current.get(&transaction_id).ok_or(StoreError::SaleNotFound { transaction_id })?;
    check_etag(etag, sale)?;
    match action.applied_to(sale, now)? {
        Some(changed) => {
            current.insert(transaction_id, changed.clone());
            Ok(Outcome::Stored(changed))
        }
        None => {
            let version = sale.version;
            current.remove(&transaction_id);
            Ok(Outcome::Deleted { transaction_id, version })
        }
    }
}

/// Writes what differs between two states of some sales.
async fn write_differences(
    connection: &mut PgConnection,
    old: &HashMap<Uuid, Sale>,
    new: &HashMap<Uuid, Sale>,
) -> Result<(), sqlx::Error> {
    let (mut created, mut changed) = (Vec::new(), Vec::new());
    let (mut added, mut altered) = (item::Columns::default(), item::Columns::default());
    let mut removed = Vec::new();
    for (id, sale) in new {
        match old.get(id) {
            None => created.push(sale),
            Some(old) if old.version != sale.version => changed.push(sale),
            Some(_) => continue,
        }
        let before = old.get(id).map(|sale| sale.items.as_slice()).unwrap_or_default();
        for item in &sale.items {
            match before.iter().find(|before| before.item_id == item.item_id) {
                None => added.push(*id, item),
                Some(before) if before != item => altered.push(*id, item),
                Some(_) => {}
            }
        }
        let is_gone = |id: &Uuid| sale.items.iter().all(|item| item.item_id != *id);
        removed.extend(before.iter().map(|item| item.item_id).filter(is_gone));
    }
    let deleted: Vec<_> = old.keys().filter(|id| !new.contains_key(id)).copied().collect();
    sale::insert(&mut *connection, &created).await?;
    sale::update(&mut *connection, &changed).await?;
    item::delete(&mut *connection, &removed).await?;
    item::insert(&mut *connection, &added).await?;
    item::update(&mut *connection, &altered).await?;
    sale::delete(connection, &deleted).await
}

/// The write stands, or may stand: no error from here may say that nothing was written.
fn outcome_unknown(error: DatabaseError) -> StoreError {
    let source = match error {
        DatabaseError::Unavailable { source } | DatabaseError::Storage { source } => Some(source),
        _ => None,
    };
    DatabaseError::OutcomeUnknown { source }.into()
}
