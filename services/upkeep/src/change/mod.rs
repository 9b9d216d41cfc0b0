//! A change of a published table's shape, on both sides in the right order.
//!
//! A column comes in these steps: the replicas, the primary, the publication, and it goes in the reverse. At each moment
//! every replica has what the stream brings. Which steps are done is read from both sides' catalogs and written down
//! nowhere, so that who was cut off, or did a step by hand, goes on where things stand.

mod back_fill;
mod file;
mod pair;
mod standing;
mod steps;

use serde::Serialize;
use tandem_convergence::{Options, Report};

use self::pair::Pair;
use self::steps::states;
use crate::error::UpkeepError;
use crate::sides::Step;

pub use file::{Change, ChangeFileError};
pub use pair::{PairAddresses, ReplicaAddress};
pub use steps::{Direction, PlannedStep, StepState};

/// What is to be done, and where both sides stand.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// What is to become of the column.
    pub direction: Direction,
    /// Where the sides don't agree in a way that no step of the change explains. Where there is anything, nothing is done.
    pub drift: Vec<String>,
    /// In the order in which they are carried out.
    pub steps: Vec<PlannedStep>,
}

impl Plan {
    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.drift.is_empty() && self.steps.iter().all(|step| step.state == StepState::Done)
    }
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Applied {
    /// Whether the caller agreed to what was to be done.
    pub agreed: bool,
    /// As things stand at the end.
    pub plan: Plan,
    /// Rows that were filled.
    pub back_filled: u64,
    /// The primary compared with each replica afterwards; empty where the caller did not agree.
    pub verify: Vec<Report>,
}

/// Reads where both sides stand. Changes nothing.
///
/// # Errors
///
/// A database can't be asked. Drift is no error.
pub async fn plan(addresses: &PairAddresses, change: &Change, direction: Direction) -> Result<Plan, UpkeepError> {
    plan_of(&mut Pair::connect(addresses).await?, change, direction).await
}

async fn plan_of(pair: &mut Pair, change: &Change, direction: Direction) -> Result<Plan, UpkeepError> {
    let standing = standing::Standing::of(pair, change).await?;
    Ok(Plan { direction, drift: standing.drift(change), steps: states(&standing, change, direction) })
}

/// Carries out the steps that are left, one after the other, once `agree` has seen them, and compares the primary with each
/// replica. Callers meet no error meanwhile: each step waits for its lock only briefly, again and again.
///
/// # Errors
///
/// [`UpkeepError::Drifted`] before anything is done, or whatever a step met. It can be run again.
pub async fn apply(
    addresses: &PairAddresses,
    change: &Change,
    direction: Direction,
    options: &Options,
    agree: impl Fn(&Plan) -> bool,
    observe: impl Fn(&Step) + Sync,
) -> Result<Applied, UpkeepError> {
    observe(&Step::Connecting);
    let mut pair = Pair::connect(addresses).await?;
    let mut plan = plan_of(&mut pair, change, direction).await?;
    let mut back_filled = 0;
    let agreed = plan.is_done() || plan.drift.is_empty() && agree(&plan);
    // What was agreed to is at most what was shown.
    for _ in 0..plan.steps.len() {
        if !plan.drift.is_empty() {
            return Err(UpkeepError::Drifted { drift: plan.drift });
        }
        let next = plan.steps.iter().find(|step| step.state == StepState::Due);
        let (true, Some(next)) = (agreed, next) else { break };
        observe(&Step::Changing(next.what.clone()));
        back_filled += steps::carry_out(&mut pair, change, next, &observe).await?;
        plan = plan_of(&mut pair, change, direction).await?;
    }
    let verify = if agreed { pair.verify(options, &observe).await? } else { Vec::new() };
    Ok(Applied { agreed, plan, back_filled, verify })
}
