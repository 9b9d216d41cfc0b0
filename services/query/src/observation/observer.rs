//! The one who looks at both sides.

use std::{
    convert::Infallible,
    error::Error,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tandem_chassis::{database::DatabaseError, deadline::Deadline, shutdown::Shutdown};
use tandem_replication::{Drift, Judge, PrimaryLook, ReplicaLook, Slot, Verdict};
use tokio::time::{MissedTickBehavior, interval};

use super::figures;
use crate::freshness::PrimaryClock;
use crate::store::{Applied, Primary, Replica, fold::Backlog};

/// Between looks: each costs both databases a few milliseconds.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// One look must not hold up the next for much longer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(4);
/// Of a look's time, how much a primary that does not answer may take: the replica's half is worth something of its own.
const PATIENCE_WITH_PRIMARY: Duration = Duration::from_secs(2);

/// How long sales that somebody has locked may hold up the count of those that are not in the rollups.
const PATIENCE_WITH_ROLLUPS: Duration = Duration::from_millis(500);

/// Looks at both sides. Clones share what they remember.
#[derive(Clone)]
pub struct Observer {
    replica: Replica,
    primary: Option<Primary>,
    clock: PrimaryClock,
    judge: Arc<Mutex<Judge>>,
    primary_is_away: Arc<AtomicBool>,
    subscription: String,
}

/// What the primary says, if it does.
pub enum PrimaryAnswer {
    /// It answered.
    Reached(Box<PrimaryLook>),
    /// It did not.
    Unreachable,
    /// There is no credential for it.
    NotConfigured,
}

/// Both sides at one moment, and what is to be thought of them.
pub struct Observation {
    /// What the primary says.
    pub primary: PrimaryAnswer,
    /// What the replica says of its subscription.
    pub replica: ReplicaLook,
    /// How far the replica is, as callers are told.
    pub applied: Applied,
    /// Everything that was committed longer ago than this is visible, by the newest watermark.
    pub staleness: Option<Duration>,
    /// How it is doing.
    pub verdict: Verdict,
    /// Where the tables have grown apart.
    pub drifts: Vec<Drift>,
    /// Slots that nobody reads and nobody is known to.
    pub orphans: Vec<Slot>,
    /// The subscription's name, which is its slot's, too.
    pub subscription: String,
}

impl PrimaryAnswer {
    /// What it said.
    pub fn look(&self) -> Option<&PrimaryLook> {
        match self {
            Self::Reached(look) => Some(look),
            Self::Unreachable | Self::NotConfigured => None,
        }
    }
}

impl Observation {
    /// The replica has everything that was committed longer ago than this: by the newest watermark or by what the primary
    /// has said, whichever is less. While no command service runs nobody writes watermarks, and nothing is missing.
    pub fn behind(&self) -> Option<Duration> {
        self.staleness.into_iter().chain(self.verdict.behind_for).min()
    }

    /// The slot of this replica.
    pub fn slot(&self) -> Option<&Slot> {
        self.primary.look().and_then(|primary| primary.slot(&self.subscription))
    }
}

impl Observer {
    /// Asks `replica`, whose pool is better not the callers': how replication is doing must be told when they have all their
    /// connections too. And `primary`, where there is a credential for it. Staleness is measured by `clock`. `known_slots`
    /// are those of others.
    pub fn new(
        replica: Replica,
        primary: Option<Primary>,
        clock: PrimaryClock,
        subscription: String,
        known_slots: Vec<String>,
    ) -> Self {
        let judge = Arc::new(Mutex::new(Judge::new(subscription.clone(), known_slots)));
        Self { replica, primary, clock, judge, primary_is_away: Arc::default(), subscription }
    }

    /// The same memory, and another connection to the replica.
    #[must_use]
    pub fn asking(self, replica: Replica) -> Self {
        Self { replica, ..self }
    }

    /// Looks until shutdown, and tells metrics.
    pub async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.triggered() => {}
            _ = self.look_again_and_again() => {}
        }
    }

    async fn look_again_and_again(&self) -> Infallible {
        let mut failing = false;
        let mut tick = interval(BETWEEN_LOOKS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match self.look(Deadline::after(LOOK_TIMEOUT)).await {
                Ok(observation) => {
                    failing = false;
                    figures::tell(&observation);
                    figures::tell_rollups(self.backlog(Deadline::after(LOOK_TIMEOUT)).await);
                }
                Err(error) => {
                    // Said once for an outage: figures that no longer move say it all the while.
                    if !failing {
                        let error = &error as &dyn Error;
                        tracing::warn!(error, "the replica does not say how replication is doing");
                    }
                    failing = true;
                    figures::tell_nothing();
                }
            }
        }
    }

    /// Looks now.
    pub async fn look(&self, deadline: Deadline) -> Result<Observation, DatabaseError> {
        // The primary first: a replica at work would look late by what came in between.
        let primary = self.ask_primary(deadline).await;
        let tables = primary.look().map(PrimaryLook::tables).unwrap_or_default();
        let (applied, replica) = self.replica.look(tables, deadline).await?;
        let look = primary.look();
        // Judging can't panic half-way: it compares and assigns.
        let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = judge.judge(look, &replica, Instant::now());
        let orphans = look.iter().flat_map(|look| judge.orphans(look)).cloned().collect();
        drop(judge);
        let drifts = look.map(|look| replica.drifts(look)).unwrap_or_default();
        let subscription = self.subscription.clone();
        let staleness = applied.staleness(self.clock.now());
        Ok(Observation { primary, replica, applied, staleness, verdict, drifts, orphans, subscription })
    }

    /// How far the rollups are; `None` while sales are locked, or too many to be counted in that time.
    pub async fn backlog(&self, deadline: Deadline) -> Option<Backlog> {
        let patience = PATIENCE_WITH_ROLLUPS.min(deadline.remaining() / 2);
        let counted = self.replica.backlog(Deadline::after(patience)).await;
        counted
            .inspect_err(|error| {
                tracing::debug!(error = error as &dyn Error, "the backlog of the rollups can't be counted");
            })
            .ok()
    }

    async fn ask_primary(&self, deadline: Deadline) -> PrimaryAnswer {
        let Some(primary) = &self.primary else { return PrimaryAnswer::NotConfigured };
        let patience = PATIENCE_WITH_PRIMARY.min(deadline.remaining() / 2);
        let answer = primary.look(Deadline::after(patience)).await;
        // Said once for an outage.
        let was_away = self.primary_is_away.swap(answer.is_err(), Ordering::Relaxed);
        match answer {
            Ok(look) => {
                if was_away {
                    tracing::info!("the primary says again how replication is doing");
                }
                PrimaryAnswer::Reached(Box::new(look))
            }
            Err(error) => {
                if !was_away {
                    tracing::warn!(error = &error as &dyn Error, "the primary does not say how replication is doing");
                }
                PrimaryAnswer::Unreachable
            }
        }
    }
}
