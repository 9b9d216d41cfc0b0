//! Tables of a replica that are built anew beside those that queries read, and take their places.
//!
//! What is built is copied from the primary, brought up to date by the changes since, which a temporary slot holds, and
//! compared. Then, in one database transaction, it takes the old table's place: at exactly the position up to which the
//! subscription has applied, so that the stream goes on as if nothing had happened. Nobody reads it before.

mod construction;
mod rebuild;
mod shadow;
mod swap;

use serde::Serialize;
use sqlx::AssertSqlSafe;
use tandem_convergence::{Options, Report, Side};
use tandem_replication::{Publication, PublishedTable, TableState};
use tokio::time::{Duration, sleep};

use self::construction::{Construction, Limit};
use crate::error::{UpkeepError, on};
use crate::sides::{Addresses, Sides, Step, publication};

pub use rebuild::rebuild;

/// Between looks at how far apply is: it is a few milliseconds behind when it runs.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// What was done.
#[derive(Debug, Serialize)]
pub struct Resynced {
    /// Whether the caller agreed to what was to be done.
    pub agreed: bool,
    /// The tables that were built anew.
    pub tables: Vec<String>,
    /// Both databases compared afterwards; absent where the caller did not agree.
    pub verify: Option<Report>,
}

/// Builds one published table of the replica anew, and compares both databases.
///
/// Queries go on: they read the old table until the new one has taken its place. Killed at any moment, either has happened,
/// and it can be run again. `table` is `schema.table`.
///
/// # Errors
///
/// [`UpkeepError`] says what to do. A difference that the comparison finds is no error.
pub async fn resync(
    addresses: &Addresses,
    table: &str,
    options: &Options,
    agree: impl Fn(&[String]) -> bool,
    observe: impl Fn(&Step) + Sync,
) -> Result<Resynced, UpkeepError> {
    observe(&Step::Connecting);
    let mut sides = Sides::connect(addresses).await?;
    let published = published(&mut sides).await?;
    let wanted: Vec<PublishedTable> = published.into_iter().filter(|found| label(found) == table).collect();
    let unfit = |why: &str| UpkeepError::Unfit { table: table.to_owned(), why: why.to_owned() };
    if wanted.is_empty() {
        return Err(unfit("the primary publishes no table of this name (schema.table)"));
    }
    let subscription = sides.subscription().await?;
    if !subscription.enabled {
        return Err(UpkeepError::SwitchedOff { subscription: subscription.name });
    }
    if !subscription.tables.iter().any(|found| found.name == table && found.state == TableState::Ready) {
        return Err(unfit("the subscription has not brought it into the stream yet: wait, or use `rebuild-replica`"));
    }
    sides.slot().await?;
    let tables: Vec<String> = wanted.iter().map(label).collect();
    if !agree(&tables) {
        return Ok(Resynced { agreed: false, tables, verify: None });
    }
    let mut construction = Construction::begin(&mut sides, &wanted, &observe).await?;
    observe(&Step::CatchingUp(table.to_owned()));
    pass_copy(&mut sides, &observe).await?;
    construction.vacuum(&mut sides.replica).await?;
    construction.compare(&mut sides, Limit::Applied, &observe).await?;
    swap::in_stream(&mut sides, &mut construction, &observe).await?;
    clean(&mut sides).await?;
    let verify = Some(sides.verify(options, &observe).await?);
    Ok(Resynced { agreed: true, tables, verify })
}

async fn published(sides: &mut Sides) -> Result<Vec<PublishedTable>, UpkeepError> {
    let found = Publication::find(&mut sides.primary, publication()).await;
    let found = found.map_err(on(Side::Primary, "reading the publication"))?;
    Ok(found.map(|publication| publication.tables).unwrap_or_default())
}

fn label(table: &PublishedTable) -> String {
    format!("{}.{}", table.schema, table.name)
}

/// Waits until the stream has brought everything that a copy may have seen.
async fn pass_copy(sides: &mut Sides, observe: &(impl Fn(&Step) + Sync)) -> Result<(), UpkeepError> {
    let copied = sides.barrier().await?;
    let errors_before = sides.subscription().await?.apply_errors;
    observe(&Step::WaitingForApply(copied));
    while sides.applied().await? < copied {
        let subscription = sides.subscription().await?;
        if subscription.apply_errors > errors_before {
            return Err(UpkeepError::ApplyFails { subscription: subscription.name });
        }
        sleep(BETWEEN_LOOKS).await;
    }
    Ok(())
}

/// Nothing of what was built is left where it was built.
async fn clean(sides: &mut Sides) -> Result<(), UpkeepError> {
    let drop_schema = format!("drop schema if exists {} cascade", shadow::SCHEMA);
    let dropped = sqlx::raw_sql(AssertSqlSafe(drop_schema)).execute(&mut sides.replica).await;
    dropped.map(drop).map_err(on(Side::Replica, "dropping what is left of a copy"))
}

/// Takes away what a resync or rebuild-replica has left that did not come to its end.
///
/// # Errors
///
/// Another one is at work, or the replica can't be reached.
pub async fn clean_up(addresses: &Addresses) -> Result<(), UpkeepError> {
    clean(&mut Sides::connect(addresses).await?).await
}
