//! Why a replica could not be healed.

use std::path::PathBuf;
use std::time::Duration;

use tandem_convergence::{CheckError, Side};
use tandem_replication::ReadError;

use crate::change::ChangeFileError;

/// Nothing that was acknowledged is undone by any of these; each command can be run again.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The database did not take the connection.
    #[error("the {side} could not be reached: check that it runs, and its settings")]
    Connect {
        /// Which database.
        side: Side,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// A statement failed.
    #[error("{doing} failed on the {side}")]
    Query {
        /// Where.
        side: Side,
        /// What it was for.
        doing: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The primary's changes can't be read.
    #[error(transparent)]
    Changes(#[from] ReadError),
    /// There is no subscription to heal.
    #[error("the replica has no subscription {subscription}: run `tandem-query migrate`")]
    NotSubscribed {
        /// Its name.
        subscription: String,
    },
    /// Somebody has switched it off, and knows why.
    #[error(
        "subscription {subscription} is switched off: switch it on (alter subscription {subscription} enable) and run this \
         again"
    )]
    SwitchedOff {
        /// Its name.
        subscription: String,
    },
    /// What the subscription reads from is not on the primary, or is lost.
    #[error("slot {slot} on the primary {what}: `rebuild-replica` builds the replica anew")]
    SlotGone {
        /// Its name.
        slot: String,
        /// Completes "slot … on the primary …".
        what: &'static str,
    },
    /// Another process is at work on one of the databases.
    #[error("another heal, resync, rebuild-replica, migrate or promote is at work on this pair: wait for it")]
    Busy,
    /// A row was to be moved that is not there any more as it was shown.
    #[error("row {key} of {table} has changed since it was looked at: run this again")]
    RowChanged {
        /// Whose.
        table: String,
        /// Its primary key, as JSON.
        key: String,
    },
    /// Apply stands still for a reason that no row of the replica explains.
    #[error(
        "apply of {subscription} fails and no row of the replica stands in its way: its reason is in the log of the \
         replica's server; a column that is missing is `tandem-query migrate`'s matter"
    )]
    AnotherReason {
        /// The subscription.
        subscription: String,
    },
    /// Nothing can take a table's place while apply does not move.
    #[error(
        "apply of {subscription} fails, and a table can be swapped only in a stream that moves: run `heal` first, or \
         `rebuild-replica`"
    )]
    ApplyFails {
        /// The subscription.
        subscription: String,
    },
    /// The sides don't agree in a way that the change does not explain.
    #[error("the sides have drifted apart, and nothing was changed: {}", drift.join("; "))]
    Drifted {
        /// Each a sentence.
        drift: Vec<String>,
    },
    /// The replica can't take the primary's place.
    #[error("the replica can't be promoted, and nothing was changed: {}", why.join("; "))]
    Unpromotable {
        /// Each a sentence.
        why: Vec<String>,
    },
    /// The old primary's writers are locked out, and not by a promotion that can go on.
    #[error(
        "role {role} may not log in on the primary, and no promotion to this replica has locked it out: if it is to write \
         (alter role {role} login), run this again"
    )]
    FencedByOthers {
        /// Whose role.
        role: &'static str,
    },
    /// Somebody writes to the old primary and does not end.
    #[error(
        "somebody writes to the primary and does not come to an end: end that session (pg_stat_activity) and run this again"
    )]
    StillWriting,
    /// A promotion was cut off before it had turned anything.
    #[error("interrupted: nothing was turned, and writers are let in")]
    PromotionInterrupted,
    /// A promotion was cut off behind its point of no return.
    #[error("the replica is the primary now, and the old one was not cleaned to the end: run this again")]
    NotDemoted,
    /// A promotion was cut off, and whether there is a way back could not be found out.
    #[error(
        "{outcome}. Writers may still be locked out ({source}): run this again to go on, or with --give-up to let them in"
    )]
    StillFenced {
        /// What went wrong first.
        outcome: String,
        /// What went wrong then.
        source: Box<UpkeepError>,
    },
    /// What is to change can't be read.
    #[error("{} can't be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What is to change can't be understood.
    #[error(transparent)]
    Change(#[from] ChangeFileError),
    /// Somebody asked to stop.
    #[error("interrupted: {left}")]
    Interrupted {
        /// How things stand, for people.
        left: &'static str,
    },
    /// It can't be rebuilt beside itself.
    #[error("{table} can't be built anew: {why}")]
    Unfit {
        /// `schema.table`.
        table: String,
        /// Why not.
        why: String,
    },
    /// What was built beside the table is not what the primary holds.
    #[error("what was built of {table} is not what the primary holds: nothing was swapped; run this again")]
    Differs {
        /// `schema.table`.
        table: String,
    },
    /// Readers held a table for as long as was waited for it, each time.
    #[error(
        "{table} was in use each time that it was to be swapped: end long queries on the replica (pg_stat_activity) and run \
         this again"
    )]
    InUse {
        /// `schema.table`.
        table: String,
    },
    /// The time that was given has passed.
    #[error("the time-out of {timeout:?} passed while {doing}: allow more time (--timeout)")]
    TimedOut {
        /// How long was allowed.
        timeout: Duration,
        /// What was under way.
        doing: String,
    },
    /// Healed, and both databases could not be compared.
    #[error(transparent)]
    Check(#[from] CheckError),
}

/// Names a failed statement.
pub(crate) fn on(side: Side, doing: &'static str) -> impl Fn(sqlx::Error) -> UpkeepError + Copy {
    move |source| UpkeepError::Query { side, doing, source }
}

impl UpkeepError {
    /// The message and those of all its causes, in one line for people.
    #[must_use]
    pub fn with_causes(&self) -> String {
        tandem_convergence::with_causes(self)
    }
}
