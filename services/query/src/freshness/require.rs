//! Waiting until the replica is fresh enough.

use std::{cmp::Ordering, time::Duration};

use tandem_chassis::{database::DatabaseError, deadline::Deadline};
use tandem_replication::Position;
use tokio::{sync::watch, time::timeout};

use super::{PrimaryClock, caught_up::CaughtUp, watcher::Interest};
use crate::{
    domain::Consistency,
    store::{Applied, Primary},
};

/// Before the call's deadline a wait gives up by this much, so that the answer that says why still gets out.
const TIME_TO_ANSWER: Duration = Duration::from_millis(25);

/// Why the replica is not as fresh as was asked.
#[derive(Debug, thiserror::Error)]
pub enum FreshnessError {
    /// The token is of another cluster: after a restore or a move, or of another deployment.
    #[error("the consistency token is of another database system")]
    OtherSystem,
    /// The token is of an older timeline of the cluster: a promotion lies between, and with it perhaps the end of what the
    /// token covers.
    #[error("the consistency token is of an older timeline of the database system")]
    OtherTimeline,
    /// The replica did not get there before the deadline.
    #[error("the replica is not as fresh as was asked")]
    Behind {
        /// How far it is.
        observed: Observed,
        /// How far it should be; `None` where a time was asked and not a position.
        wanted: Option<Position>,
    },
    /// Only the primary could say what strong means, and there is no credential for it.
    #[error("the primary can't be asked: no credential for it is configured")]
    PrimaryNotConfigured,
    /// The primary did not say its position.
    #[error("the primary did not say its position")]
    Primary(#[source] DatabaseError),
}

/// What was known of the replica when it was found fresh enough, or not.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// How far it was.
    pub applied: Applied,
    /// How stale it was then, by the primary's clock; `None` while that is not known.
    pub staleness: Option<Duration>,
}

impl Observed {
    /// The same of a replica that has been seen at `reached`, or beyond. What it says may go back when its apply worker
    /// starts anew; what it shows does not.
    fn not_before(mut self, reached: Position) -> Self {
        let known = self.applied.position.filter(|known| known.identity == reached.identity);
        if let Some(known) = known {
            self.applied.position = Some(Position { lsn: known.lsn.max(reached.lsn), ..known });
        }
        self
    }
}

/// What is known of the replica's freshness.
#[derive(Clone)]
pub struct Freshness {
    applied: watch::Receiver<Applied>,
    interest: Interest,
    primary: Option<Primary>,
    clock: PrimaryClock,
    caught_up: CaughtUp,
}

impl Freshness {
    pub(super) const fn new(
        applied: watch::Receiver<Applied>,
        interest: Interest,
        primary: Option<Primary>,
        clock: PrimaryClock,
        caught_up: CaughtUp,
    ) -> Self {
        Self { applied, interest, primary, clock, caught_up }
    }

    /// The clock that staleness is measured by.
    pub fn clock(&self) -> PrimaryClock {
        self.clock.clone()
    }

    /// How stale the replica is now, by its newest watermark or by what the primary itself has said, whichever is less:
    /// while no command service runs nobody writes watermarks, and nothing is missing. `None` while neither is known.
    pub fn staleness(&self) -> Option<Duration> {
        let by_watermark = self.observe(*self.applied.borrow()).staleness;
        by_watermark.into_iter().chain(self.caught_up.since().map(|since| since.elapsed())).min()
    }

    /// How far the replica is, whenever that is known to have changed.
    pub fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.clone()
    }

    /// How far the replica is, as far as is known.
    pub fn now(&self) -> Observed {
        self.observe(*self.applied.borrow())
    }

    /// Waits until every snapshot taken from now on is as fresh as asked, and shows everything before each position that the
    /// call `carried`, but not beyond the deadline.
    pub async fn require(
        &self,
        consistency: Consistency,
        carried: &[Position],
        deadline: Deadline,
    ) -> Result<Observed, FreshnessError> {
        // First what once reached stays so: a staleness is to be right when the wait ends.
        for wanted in carried {
            self.reach(*wanted, deadline).await?;
        }
        let observed = self.require_one(consistency, deadline).await?;
        Ok(carried.iter().copied().fold(observed, Observed::not_before))
    }

    async fn require_one(&self, consistency: Consistency, deadline: Deadline) -> Result<Observed, FreshnessError> {
        match consistency {
            Consistency::Any => Ok(self.now()),
            Consistency::AtLeast(wanted) => self.reach(wanted, deadline).await,
            Consistency::MaxStaleness(most) => {
                let fresh = |seen: &Observed| seen.staleness.is_some_and(|staleness| staleness <= most);
                let reached = self.wait(deadline, |seen| fresh(seen).then_some(())).await;
                reached.map(|((), seen)| seen).map_err(|observed| FreshnessError::Behind { observed, wanted: None })
            }
            Consistency::Strong => {
                let primary = self.primary.as_ref().ok_or(FreshnessError::PrimaryNotConfigured)?;
                let wanted = primary.position(deadline).await.map_err(FreshnessError::Primary)?;
                self.reach(wanted, deadline).await
            }
        }
    }

    async fn reach(&self, wanted: Position, deadline: Deadline) -> Result<Observed, FreshnessError> {
        match self.wait(deadline, |seen| compare(seen.applied.position?, wanted)).await {
            Ok((Ok(()), observed)) => Ok(observed),
            Ok((Err(refused), _)) => Err(refused),
            Err(observed) => Err(FreshnessError::Behind { observed, wanted: Some(wanted) }),
        }
    }

    fn observe(&self, applied: Applied) -> Observed {
        Observed { applied, staleness: applied.staleness(self.clock.now()) }
    }

    /// Waits for `decide` to say something; when the time is up, what was known then.
    ///
    /// A replica that stands still only grows more stale, so that a wait for any freshness needs no look at the clock
    /// between two changes.
    async fn wait<T>(
        &self,
        deadline: Deadline,
        decide: impl Fn(&Observed) -> Option<T>,
    ) -> Result<(T, Observed), Observed> {
        let mut applied = self.applied.clone();
        let now = self.observe(*applied.borrow_and_update());
        if let Some(decided) = decide(&now) {
            return Ok((decided, now));
        }
        let _interest = self.interest.declare();
        let decided = async {
            loop {
                // The sender lives as long as the service: an end of it is a wait without end, which the time-out ends.
                if applied.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                let now = self.observe(*applied.borrow_and_update());
                if let Some(decided) = decide(&now) {
                    return (decided, now);
                }
            }
        };
        let patience = deadline.remaining().saturating_sub(TIME_TO_ANSWER);
        timeout(patience, decided).await.map_err(|_| self.observe(*self.applied.borrow()))
    }
}

/// Whether a replica at `applied` shows everything before `wanted`; `None`: not yet.
fn compare(applied: Position, wanted: Position) -> Option<Result<(), FreshnessError>> {
    let (here, there) = (applied.identity, wanted.identity);
    if here.system_identifier != there.system_identifier {
        return Some(Err(FreshnessError::OtherSystem));
    }
    match there.timeline.cmp(&here.timeline) {
        Ordering::Less => Some(Err(FreshnessError::OtherTimeline)),
        Ordering::Equal => (applied.lsn >= wanted.lsn).then_some(Ok(())),
        // The primary was promoted, and the first watermark of its new timeline is still on its way.
        Ordering::Greater => None,
    }
}

#[cfg(test)]
mod tests {
    use tandem_replication::{Lsn, SystemIdentity};

    use super::{Applied, FreshnessError, Observed, Position, compare};

    fn position(system_identifier: i64, timeline: i32, lsn: u64) -> Position {
        Position { identity: SystemIdentity { system_identifier, timeline }, lsn: Lsn::new(lsn) }
    }

    #[test]
    fn a_position_is_reached_in_its_own_history_only() {
        let applied = position(7, 2, 100);
        assert!(matches!(compare(applied, position(7, 2, 100)), Some(Ok(()))));
        assert!(compare(applied, position(7, 2, 101)).is_none());
        assert!(matches!(compare(applied, position(8, 2, 1)), Some(Err(FreshnessError::OtherSystem))));
    }

    #[test]
    fn what_was_reached_is_not_forgotten_when_the_worker_says_less() {
        let seen = |position| Observed { applied: Applied { position, ..Applied::default() }, staleness: None };
        let after = |position, reached| seen(position).not_before(reached).applied.position;
        assert_eq!(after(Some(position(7, 1, 80)), position(7, 1, 100)), Some(position(7, 1, 100)));
        assert_eq!(after(Some(position(7, 1, 120)), position(7, 1, 100)), Some(position(7, 1, 120)));
        // Nothing is claimed of a replica that copies tables, and nothing of another history.
        assert_eq!(after(None, position(7, 1, 100)), None);
        assert_eq!(after(Some(position(7, 2, 80)), position(7, 1, 100)), Some(position(7, 2, 80)));
    }

    #[test]
    fn a_token_from_after_a_promotion_is_waited_for_and_one_from_before_is_refused() {
        let applied = position(7, 2, 100);
        assert!(compare(applied, position(7, 3, 1)).is_none());
        assert!(matches!(compare(applied, position(7, 1, 1)), Some(Err(FreshnessError::OtherTimeline))));
    }
}
