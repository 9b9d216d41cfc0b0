//! A conflict on apply, from finding it to the proof that it has healed.

use std::time::Duration;

use serde::Serialize;
use tandem_convergence::{Options, Report};
use tokio::time::{Instant, sleep};

use crate::conflict::{self, Conflict};
use crate::error::UpkeepError;
use crate::sides::{Addresses, Sides, Step};

/// Between looks at how far apply is: it is a few milliseconds behind when it runs.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// A worker that has failed is started again after `wal_retrieve_retry_interval`, by default 5 seconds. One that has not
/// come past a row in this time has met something else: the backlog is looked through again.
const ANOTHER_LOOK: Duration = Duration::from_secs(12);

/// What was done.
#[derive(Debug, Serialize)]
pub struct Healed {
    /// Whether the caller agreed to what was to be done, also where nothing was.
    pub agreed: bool,
    /// The rows that stood in the way; set aside where the caller agreed.
    pub rows: Vec<Conflict>,
    /// Both databases compared afterwards; absent where the caller did not agree.
    pub verify: Option<Report>,
}

/// Finds the rows of the replica that apply can't get past, sets them aside once `agree` has seen them, waits until apply
/// has come past them, and compares both databases.
///
/// Nothing of the stream is skipped: the primary's rows take the places of those that were set aside, which stay in
/// `tandem.set_aside`. Killed at any moment, it can be run again.
///
/// # Errors
///
/// [`UpkeepError`] says what to do. A difference that the comparison finds is no error.
pub async fn heal(
    addresses: &Addresses,
    options: &Options,
    agree: impl Fn(&[Conflict]) -> bool,
    observe: impl Fn(&Step) + Sync,
) -> Result<Healed, UpkeepError> {
    observe(&Step::Connecting);
    let mut sides = Sides::connect(addresses).await?;
    if !sides.subscription().await?.enabled {
        return Err(UpkeepError::SwitchedOff { subscription: addresses.subscription.clone() });
    }
    let mut healed = Healed { agreed: true, rows: Vec::new(), verify: None };
    loop {
        let errors_before = sides.subscription().await?.apply_errors;
        let found = conflict::find(&mut sides, &observe).await?;
        let Some(last) = found.last().map(|conflict| conflict.commit_lsn) else {
            no_other_reason(&mut sides, errors_before, &observe).await?;
            break;
        };
        healed.agreed = agree(&found);
        if !healed.agreed {
            healed.rows.extend(found);
            return Ok(healed);
        }
        observe(&Step::Moving(found.len()));
        conflict::set_aside(&mut sides.replica, &found).await?;
        healed.rows.extend(found);
        observe(&Step::WaitingForApply(last));
        let until = Instant::now() + ANOTHER_LOOK;
        while sides.applied().await? <= last && Instant::now() < until {
            sleep(BETWEEN_LOOKS).await;
        }
    }
    healed.verify = Some(sides.verify(options, &observe).await?);
    Ok(healed)
}

/// Waits until apply has come to where the primary is now, or fails once more although nothing stands in its way.
async fn no_other_reason(
    sides: &mut Sides,
    errors_before: i64,
    observe: &(impl Fn(&Step) + Sync),
) -> Result<(), UpkeepError> {
    let target = sides.flushed().await?;
    observe(&Step::WaitingForApply(target));
    let until = Instant::now() + ANOTHER_LOOK;
    loop {
        let subscription = sides.subscription().await?;
        let reached = subscription.progress.applied_lsn.is_some_and(|applied| applied >= target);
        if reached || sides.applied().await? >= target {
            return Ok(());
        }
        if subscription.apply_errors > errors_before && !subscription.progress.running {
            return Err(UpkeepError::AnotherReason { subscription: subscription.name });
        }
        if Instant::now() >= until {
            // Slow, or idle: the comparison waits as long as the caller allows, and says why it could not.
            return Ok(());
        }
        sleep(BETWEEN_LOOKS).await;
    }
}
