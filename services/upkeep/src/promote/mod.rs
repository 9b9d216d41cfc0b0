//! A replica takes its primary's place, and nothing that was acknowledged is lost or done twice.
//!
//! | step | what is there if it ends here |
//! | --- | --- |
//! | compare | the pair as it was |
//! | fence: the command service's role may not log in, everybody else waits for locks | the pair, and writers are refused |
//! | drain, and compare again | the same |
//! | turn, in one database transaction (`turn`) | before its COMMIT the same, behind it a new primary: no way back |
//! | demote: the old primary lets nobody in who writes or follows, and holds no slot | the new primary |
//!
//! Run again, it goes on. Given up before the COMMIT, [`give_up`] lets writers in again.

mod carry;
mod fence;
mod published;
mod record;
mod shape;
mod survey;
mod turn;

use serde::Serialize;
use sqlx::Connection as _;
use tandem_convergence::{Options, Report, Side};
use tandem_replication::{Lsn, Position, Slot};
use tokio::time::{Duration, Instant, sleep};

use self::survey::Survey;
use self::turn::Proof;
use crate::error::{UpkeepError, on};
use crate::sides::{Addresses, Sides, Step, lock};

pub use record::Record;
pub use survey::PromotionPlan;

/// Between looks at how far apply is, or whether a session is gone.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// A session that has begun the turn is waited for so long before writers are let in again: its COMMIT may be on its way.
const SESSION_ENDS: Duration = Duration::from_secs(30);
/// A walsender ends within milliseconds, unless its machine is in a bad way.
const SLOTS_FALL_FREE: Duration = Duration::from_secs(10);

/// What was done.
#[derive(Debug, Serialize)]
pub struct Promoted {
    /// Whether the caller agreed to the plan.
    pub agreed: bool,
    /// Whether the replica is the primary now. Otherwise the pair is as it was, and writers are let in.
    pub turned: bool,
    /// Commits of the old primary that the new one lacks: none, or absent where nothing was turned.
    pub lost_commits: Option<u64>,
    /// How it came about; absent where nothing was turned.
    pub record: Option<Record>,
    /// For how long nobody could write, in seconds. Until callers are pointed at the new primary, they can't yet.
    pub seconds_without_writes: Option<f64>,
    /// Slots that were dropped from the old primary.
    pub dropped_slots: Vec<String>,
    /// How long each step took.
    pub steps: Vec<StepTime>,
    /// Both databases compared, behind the last commit of the old one; or before it, where they differ. Absent where that was
    /// done in a run before this one.
    pub verify: Option<Report>,
}

/// How long a step took.
#[derive(Clone, Debug, Serialize)]
pub struct StepTime {
    /// `compare`, `fence`, `drain`, `compare_again`, `turn`, `demote`.
    pub step: &'static str,
    /// In seconds.
    pub seconds: f64,
}

/// Times steps, one after another.
struct Times {
    began: Instant,
    steps: Vec<StepTime>,
}

impl Times {
    fn begin() -> Self {
        Self { began: Instant::now(), steps: Vec::new() }
    }

    fn end(&mut self, step: &'static str) {
        self.steps.push(StepTime { step, seconds: self.began.elapsed().as_secs_f64() });
        self.began = Instant::now();
    }
}

/// Turns the replica into the primary, once `agree` has seen the plan. Both addresses are administrators'.
///
/// Killed at any moment, it goes on when it is run again with the same addresses. Where it is not, [`give_up`].
///
/// # Errors
///
/// [`UpkeepError`] says what to do; writers may be locked out until it is run again, or given up. That the databases differ
/// is no error: then writers are let in again, and nothing was turned.
pub async fn promote(
    addresses: &Addresses,
    options: &Options,
    agree: impl Fn(&PromotionPlan) -> bool,
    observe: impl Fn(&Step) + Sync,
) -> Result<Promoted, UpkeepError> {
    observe(&Step::Connecting);
    let mut sides = Sides::connect(addresses).await?;
    lock(&mut sides.primary, Side::Primary).await?;
    let mut times = Times::begin();
    if let Some(record) = turned(&mut sides).await? {
        return demoted(sides, record, None, times, &observe).await;
    }
    let survey = Survey::of(&mut sides).await?;
    let nothing = |agreed, verify, times: Times| Promoted {
        agreed,
        turned: false,
        lost_commits: None,
        record: None,
        seconds_without_writes: None,
        dropped_slots: Vec::new(),
        steps: times.steps,
        verify,
    };
    if !agree(&survey.plan) {
        return Ok(nothing(false, None, times));
    }
    if !survey.plan.is_fenced {
        // A pair that differs is told of before anybody has to wait.
        let verify = sides.verify(options, &observe).await?;
        times.end("compare");
        if !verify.equal {
            return Ok(nothing(true, Some(verify), times));
        }
    }
    observe(&Step::Fencing);
    let fenced_at = fence::raise(&mut sides.primary).await?;
    let mut holder = sides.another_primary().await?;
    let drained = fence::hold(&mut holder).await?;
    times.end("fence");
    let applied = drain(&mut sides, drained, &observe).await?;
    times.end("drain");
    let verify = sides.verify(options, &observe).await?;
    times.end("compare_again");
    if !verify.equal {
        close(holder).await?;
        fence::lift(&mut sides.primary).await?;
        return Ok(nothing(true, Some(verify), times));
    }
    let rows_compared = i64::try_from(verify.rows()).unwrap_or(i64::MAX);
    let proof = Proof { fenced_at, drained, applied, rows_compared };
    let record = turn::turn(&mut sides, &mut holder, &survey, &proof, &observe).await?;
    fence::let_go(&mut sides.primary, holder).await?;
    times.end("turn");
    demoted(sides, record, Some(verify), times, &observe).await
}

/// What became of a promotion that was cut off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GivenUp {
    /// Writers were locked out by it, and are let in again.
    Lifted,
    /// They were not.
    NotFenced,
    /// The replica is the primary, and there is no way back: the promotion is to be run again.
    TooLate,
}

/// Lets writers in again where a promotion was cut off before its COMMIT. Behind the COMMIT they stay locked out.
///
/// # Errors
///
/// Another promotion is at work, or one of the databases can't be reached: then nobody knows whether there is a way back.
pub async fn give_up(addresses: &Addresses) -> Result<GivenUp, UpkeepError> {
    let until = Instant::now() + SESSION_ENDS;
    let mut sides = loop {
        // Its lock is that of the session that turns: once it is ours, that session has committed or never will.
        match Sides::connect(addresses).await {
            Err(UpkeepError::Busy) if Instant::now() < until => sleep(BETWEEN_LOOKS).await,
            connected => break connected?,
        }
    };
    lock(&mut sides.primary, Side::Primary).await?;
    match turned(&mut sides).await? {
        Some(_) => Ok(GivenUp::TooLate),
        None if fence::lift(&mut sides.primary).await? => Ok(GivenUp::Lifted),
        None => Ok(GivenUp::NotFenced),
    }
}

/// Whether the replica has become the primary in a run before this one.
async fn turned(sides: &mut Sides) -> Result<Option<Record>, UpkeepError> {
    let failed = on(Side::Primary, "reading its identity");
    let from = Position::current(&mut sides.primary).await.map_err(failed)?.identity.system_identifier;
    let found = Record::find(&mut sides.replica, from).await;
    found.map_err(on(Side::Replica, "reading how it became a primary"))
}

/// Waits until the replica has applied everything. How far it is then.
async fn drain(sides: &mut Sides, drained: Position, observe: &(impl Fn(&Step) + Sync)) -> Result<Lsn, UpkeepError> {
    observe(&Step::WaitingForApply(drained.lsn));
    // Something to apply behind it: of an idle primary, positions come at leisure.
    sides.barrier().await?;
    let errors_before = sides.subscription().await?.apply_errors;
    loop {
        let subscription = sides.subscription().await?;
        if let Some(applied) = subscription.progress.applied_lsn.filter(|applied| *applied >= drained.lsn) {
            return Ok(applied);
        }
        if subscription.apply_errors > errors_before {
            return Err(UpkeepError::ApplyFails { subscription: subscription.name });
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

/// Ends a session and what it holds.
async fn close(session: sqlx::PgConnection) -> Result<(), UpkeepError> {
    session.close().await.map_err(on(Side::Primary, "letting go of its tables"))
}

/// The old primary stays what it was to readers, and lets in nobody who writes or follows it.
async fn demoted(
    mut sides: Sides,
    record: Record,
    verify: Option<Report>,
    mut times: Times,
    observe: &(impl Fn(&Step) + Sync),
) -> Result<Promoted, UpkeepError> {
    observe(&Step::Demoting);
    fence::demote(&mut sides.primary, record.system_identifier).await?;
    let dropped_slots = drop_slots(&mut sides).await?;
    times.end("demote");
    Ok(Promoted {
        agreed: true,
        turned: true,
        lost_commits: Some(0),
        seconds_without_writes: Some(record.seconds_without_writes()),
        record: Some(record),
        dropped_slots,
        steps: times.steps,
        verify,
    })
}

async fn drop_slots(sides: &mut Sides) -> Result<Vec<String>, UpkeepError> {
    let failed = on(Side::Primary, "dropping its slots");
    let mut dropped = Vec::new();
    for name in survey::slots(&mut sides.primary).await.map_err(failed)? {
        let until = Instant::now() + SLOTS_FALL_FREE;
        loop {
            let slot = Slot::find(&mut sides.primary, &name).await.map_err(failed)?;
            let Some(slot) = slot else { break };
            if let Some(pid) = slot.active_pid.filter(|_| Instant::now() < until) {
                // Whoever reads from it: it can't come back, since its role is locked out.
                let end = sqlx::query("select pg_terminate_backend($1)").bind(pid);
                end.execute(&mut sides.primary).await.map_err(failed)?;
                sleep(BETWEEN_LOOKS).await;
                continue;
            }
            let drop = sqlx::query("select pg_drop_replication_slot($1)").bind(&name);
            drop.execute(&mut sides.primary).await.map_err(failed)?;
            dropped.push(name.clone());
            break;
        }
    }
    Ok(dropped)
}
