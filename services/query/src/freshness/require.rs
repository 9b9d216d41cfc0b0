//! Waiting until the replica is fresh enough.

use std::time::Duration;

use chrono::Utc;
use tandem_chassis::{database::DatabaseError, deadline::Deadline};
use tandem_replication::Position;
use tokio::{sync::watch, time::timeout};

use super::watcher::Interest;
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
    /// The token is of another timeline of the cluster: a promotion lies between.
    #[error("the consistency token is of another timeline of the database system")]
    OtherTimeline,
    /// The replica did not get there before the deadline.
    #[error("the replica is not as fresh as was asked")]
    Behind {
        /// How far it is.
        applied: Applied,
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

/// What is known of the replica's freshness.
#[derive(Clone)]
pub struct Freshness {
    applied: watch::Receiver<Applied>,
    interest: Interest,
    primary: Option<Primary>,
}

impl Freshness {
    pub(super) const fn new(applied: watch::Receiver<Applied>, interest: Interest, primary: Option<Primary>) -> Self {
        Self { applied, interest, primary }
    }

    /// How far the replica was when the watcher looked last.
    pub fn applied(&self) -> Applied {
        *self.applied.borrow()
    }

    /// Waits until every snapshot taken from now on is as fresh as asked, but not beyond the deadline.
    pub async fn require(&self, consistency: Consistency, deadline: Deadline) -> Result<Applied, FreshnessError> {
        match consistency {
            Consistency::Any => Ok(self.applied()),
            Consistency::AtLeast(wanted) => self.reach(wanted, deadline).await,
            Consistency::MaxStaleness(staleness) => {
                let fresh = |applied: &Applied| applied.staleness(Utc::now()).is_some_and(|now| now <= staleness);
                let reached = self.wait(deadline, |applied| fresh(applied).then_some(())).await;
                reached.map(|((), applied)| applied).map_err(|applied| FreshnessError::Behind { applied, wanted: None })
            }
            Consistency::Strong => {
                let primary = self.primary.as_ref().ok_or(FreshnessError::PrimaryNotConfigured)?;
                let wanted = primary.position(deadline).await.map_err(FreshnessError::Primary)?;
                self.reach(wanted, deadline).await
            }
        }
    }

    async fn reach(&self, wanted: Position, deadline: Deadline) -> Result<Applied, FreshnessError> {
        let compare = |applied: &Applied| {
            let Position { identity, lsn } = applied.position?;
            if identity.system_identifier != wanted.identity.system_identifier {
                return Some(Err(FreshnessError::OtherSystem));
            }
            if identity.timeline != wanted.identity.timeline {
                return Some(Err(FreshnessError::OtherTimeline));
            }
            (lsn >= wanted.lsn).then_some(Ok(()))
        };
        match self.wait(deadline, compare).await {
            Ok((Ok(()), applied)) => Ok(applied),
            Ok((Err(refused), _)) => Err(refused),
            Err(applied) => Err(FreshnessError::Behind { applied, wanted: Some(wanted) }),
        }
    }

    /// Waits for `decide` to say something; when the time is up, how far the replica was then.
    async fn wait<T>(
        &self,
        deadline: Deadline,
        decide: impl Fn(&Applied) -> Option<T>,
    ) -> Result<(T, Applied), Applied> {
        let mut applied = self.applied.clone();
        let now = *applied.borrow_and_update();
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
                let now = *applied.borrow_and_update();
                if let Some(decided) = decide(&now) {
                    return (decided, now);
                }
            }
        };
        let patience = deadline.remaining().saturating_sub(TIME_TO_ANSWER);
        timeout(patience, decided).await.map_err(|_| self.applied())
    }
}
