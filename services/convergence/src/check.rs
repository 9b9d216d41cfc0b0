//! The comparison from end to end.

use std::fmt;
use std::time::Duration;

use chrono::NaiveDate;
use tandem_replication::Lsn;
use tokio::time::{Instant, sleep};

use crate::catch_up;
use crate::connect::{Database, Deadline};
use crate::error::{CheckError, Side};
use crate::fingerprint;
use crate::hashing;
use crate::published::{self, PublishedTable};
use crate::report::Report;
use crate::rollups::{self, RollupReport};
use crate::rounds::{Round, Rounds};

/// Between rounds. A commit that waits for a disk is in the log, and may be on the replica, before other
/// sessions of the primary see it; two rounds on the same side of that moment would count as two witnesses.
const ROUND_PAUSE: Duration = Duration::from_millis(250);

/// What to compare, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// After this the check gives up, whatever it is doing.
    pub timeout: Duration,
    /// The publication on the primary.
    pub publication: String,
    /// The subscription on the replica.
    pub subscription: String,
    /// Whether the replica's rollups are compared with its sales.
    pub rollups: bool,
}

impl Default for Options {
    /// One minute, the names that the migrations give, and rollups too.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            publication: tandem_replication::PUBLICATION.to_owned(),
            subscription: tandem_replication::SUBSCRIPTION.to_owned(),
            rollups: true,
        }
    }
}

/// What the check is at. Written with `{}`, it is a line for a spinner.
#[derive(Debug, Clone)]
pub enum Phase {
    /// The connections are made and the catalogues read.
    Preparing,
    /// The first copy of the tables has not ended.
    WaitingForTables,
    /// One side is read; counted in rounds from 1.
    Reading(Side, u32),
    /// The replica has to apply everything before this position.
    WaitingForReplica(Lsn),
    /// The rollups of the days from this one on are compared with the sales.
    ReadingRollups(NaiveDate),
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preparing => f.write_str("connecting to both databases"),
            Self::WaitingForTables => f.write_str("waiting for the first copy of the tables"),
            Self::Reading(side, 1) => write!(f, "reading the {side}"),
            Self::Reading(side, round) => write!(f, "reading the {side} (round {round})"),
            Self::WaitingForReplica(lsn) => write!(f, "waiting until the replica has applied {lsn}"),
            Self::ReadingRollups(day) => write!(f, "comparing rollups with sales, from {day} on"),
        }
    }
}

/// Compares every published table of two databases.
///
/// The URLs are those of a role that may read all published tables and the catalogues on both sides, and
/// may call `pg_control_system` and `pg_logical_emit_message`, such as the administrator's.
///
/// # Errors
///
/// [`CheckError`] says why nothing can be said. A difference is no error: see [`Report::equal`]. Where one
/// table was found different before time ran out on others, that is reported, and the others are undecided.
pub async fn check(primary_url: &str, replica_url: &str, options: &Options) -> Result<Report, CheckError> {
    check_observed(primary_url, replica_url, options, |_| ()).await
}

/// The same as [`check`]; `observe` is told of each step.
///
/// # Errors
///
/// As [`check`].
pub async fn check_observed(
    primary_url: &str,
    replica_url: &str,
    options: &Options,
    observe: impl Fn(&Phase),
) -> Result<Report, CheckError> {
    let started = Instant::now();
    let deadline = Deadline::after(options.timeout);
    observe(&Phase::Preparing);
    let mut primary = Database::connect(Side::Primary, primary_url, deadline).await?;
    let mut replica = Database::connect(Side::Replica, replica_url, deadline).await?;
    hashing::comparable(
        &hashing::identify(&mut primary, deadline).await?,
        &hashing::identify(&mut replica, deadline).await?,
    )?;
    let tables = published::tables(&mut primary, &options.publication, deadline).await?;
    observe(&Phase::WaitingForTables);
    catch_up::tables_ready(&mut replica, &options.subscription, &tables, deadline).await?;

    let comparison = Comparison {
        rounds: Rounds::of(tables.iter().map(|table| table.name.clone())),
        primary,
        replica,
        tables,
        subscription: &options.subscription,
        with_rollups: options.rollups,
        deadline,
        ended: 0,
        waited: Duration::ZERO,
    };
    comparison.run(&observe, started).await
}

/// A comparison under way.
struct Comparison<'a> {
    primary: Database,
    replica: Database,
    tables: Vec<PublishedTable>,
    subscription: &'a str,
    with_rollups: bool,
    deadline: Deadline,
    rounds: Rounds,
    /// How many rounds have ended.
    ended: u32,
    /// How long the replica was waited for.
    waited: Duration,
}

impl Comparison<'_> {
    /// Goes round until every table has a verdict or time runs out.
    async fn run(mut self, observe: &impl Fn(&Phase), started: Instant) -> Result<Report, CheckError> {
        loop {
            if let Err(error) = self.round(observe).await {
                return self.give_up(error, started);
            }
            if self.rounds.undecided().is_empty() {
                let rollups = self.compare_rollups(observe).await?;
                return Ok(self.report(rollups, started));
            }
            sleep(ROUND_PAUSE).await;
            if self.deadline.passed() {
                let error = self.kept_changing();
                return self.give_up(error, started);
            }
        }
    }

    async fn compare_rollups(&mut self, observe: &impl Fn(&Phase)) -> Result<Option<RollupReport>, CheckError> {
        if !self.with_rollups {
            return Ok(None);
        }
        rollups::compare(&mut self.replica, self.deadline, |day| observe(&Phase::ReadingRollups(day))).await
    }

    /// One round over the tables that have no verdict.
    async fn round(&mut self, observe: &impl Fn(&Phase)) -> Result<(), CheckError> {
        let deadline = self.deadline;
        let number = self.ended + 1;
        let undecided = self.rounds.undecided();
        let open: Vec<&PublishedTable> = self.tables.iter().filter(|table| undecided.contains(&table.name)).collect();

        observe(&Phase::Reading(Side::Primary, number));
        let (before, position) = fingerprint::take_with_position(&mut self.primary, &open, deadline).await?;
        observe(&Phase::WaitingForReplica(position));
        self.waited +=
            catch_up::reach(&mut self.primary, &mut self.replica, self.subscription, position, deadline).await?;
        observe(&Phase::Reading(Side::Replica, number));
        let mut on_replica = fingerprint::take(&mut self.replica, &open, deadline).await?;

        let unequal: Vec<&PublishedTable> =
            open.into_iter().filter(|table| before.get(&table.name) != on_replica.get(&table.name)).collect();
        observe(&Phase::Reading(Side::Primary, number));
        let mut after = fingerprint::take(&mut self.primary, &unequal, deadline).await?;
        for (name, primary_before) in before {
            if let Some(replica) = on_replica.remove(&name) {
                let primary_after = after.remove(&name);
                self.rounds.record(&name, Round { primary_before, replica, primary_after });
            }
        }
        self.ended = number;
        Ok(())
    }

    fn kept_changing(&self) -> CheckError {
        CheckError::KeptChanging {
            timeout: self.deadline.timeout(),
            rounds: self.ended,
            tables: self.rounds.undecided(),
        }
    }

    /// A difference that two rounds saw stands, whatever stopped the others.
    fn give_up(self, error: CheckError, started: Instant) -> Result<Report, CheckError> {
        if !error.is_time_out() {
            return Err(error);
        }
        if self.rounds.found_a_difference() {
            return Ok(self.report(None, started));
        }
        // Time that ran out in the middle of a further round ran out because of the rounds before.
        match error {
            CheckError::TimedOut { .. } if self.ended > 0 => Err(self.kept_changing()),
            error => Err(error),
        }
    }

    fn report(self, rollups: Option<RollupReport>, started: Instant) -> Report {
        let seconds = started.elapsed().as_secs_f64();
        Report::new(self.rounds.into_tables(), rollups, self.ended, self.waited.as_secs_f64(), seconds)
    }
}
