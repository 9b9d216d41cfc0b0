//! Why a comparison could not be made.

use std::fmt;
use std::time::Duration;

use tandem_replication::{Lsn, TableState, pgoutput::DecodeError};

/// One of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The database that the command service writes.
    Primary,
    /// The database that the query service reads.
    Replica,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        })
    }
}

/// A table whose first copy has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCopy {
    /// `schema.table`.
    pub name: String,
    /// How far the copy is.
    pub state: TableState,
}

impl fmt::Display for TableCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.state.as_str())
    }
}

/// The comparison could not be made. This says nothing about whether the databases are equal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The connection URL does not parse.
    #[error("the {side}'s URL is not a PostgreSQL URL (postgres://user:password@host:port/database)")]
    Url {
        /// Whose URL.
        side: Side,
        /// What is wrong with it.
        source: sqlx::Error,
    },

    /// The database did not take the connection.
    #[error("the {side} could not be reached: check that it runs, and its URL")]
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
        /// What the statement was for.
        doing: String,
        /// What the database said.
        source: sqlx::Error,
    },

    /// The two URLs lead to one cluster, which would always be found equal.
    #[error("both URLs lead to the same cluster (system identifier {system_identifier}): name the replica's own")]
    SameCluster {
        /// The identifier that both gave.
        system_identifier: i64,
    },

    /// The two versions of PostgreSQL hash the same row differently, so hashes can't be compared.
    #[error(
        "PostgreSQL {primary_version} (primary) and {replica_version} (replica) hash rows differently: \
         upgrade one of them before comparing"
    )]
    HashesDisagree {
        /// `server_version` of the primary.
        primary_version: String,
        /// `server_version` of the replica.
        replica_version: String,
    },

    /// The publication is not there or is empty.
    #[error("publication {publication} on the primary names no table: run `tandem-command migrate`")]
    NothingPublished {
        /// The publication that was looked for.
        publication: String,
    },

    /// The subscription is not there.
    #[error("the replica has no subscription {subscription}: run `tandem-query migrate`")]
    NotSubscribed {
        /// The subscription that was looked for.
        subscription: String,
    },

    /// The subscription does not know of tables that are published.
    #[error(
        "subscription {subscription} does not know of {}: run `tandem-query migrate`, which refreshes it",
        tables.join(", ")
    )]
    TablesNotSubscribed {
        /// The subscription.
        subscription: String,
        /// The tables it misses.
        tables: Vec<String>,
    },

    /// A published table, or a published column of it, does not exist on one side.
    #[error("the {side} lacks {what} of {table}: run the migrations of both sides")]
    SchemasDiffer {
        /// Where it is missing.
        side: Side,
        /// The published table.
        table: String,
        /// What is missing: the table, or one of its columns.
        what: String,
    },

    /// A column has another type on the other side.
    #[error("{column} is {primary} on the primary and {replica} on the replica: run the migrations of both sides")]
    TypesDiffer {
        /// `schema.table.column`.
        column: String,
        /// Its type on the primary.
        primary: String,
        /// Its type on the replica.
        replica: String,
    },

    /// Nothing tells the rows of a table apart.
    #[error("{table} has neither a primary key nor a replica identity index whose columns are published: give it one")]
    NoKey {
        /// The published table.
        table: String,
    },

    /// No batch of this name was ever begun.
    #[error(
        "the primary knows of no batch {batch_id}: `select batch_id from tandem.batch_control` lists those it knows"
    )]
    UnknownBatch {
        /// The batch that was asked for.
        batch_id: String,
    },

    /// The batch is incomplete for good.
    #[error("batch {batch_id} has failed ({why}): verify without a batch to compare what it has left")]
    BatchFailed {
        /// The batch that was asked for.
        batch_id: String,
        /// What it failed of.
        why: String,
    },

    /// No published table holds sales.
    #[error(
        "no published table has a column transaction_id of type uuid: only pairs with sales can be compared by batch"
    )]
    NoSales,

    /// A table was emptied, which no snapshot knows of.
    #[error("{table} was truncated while it was compared: verify again")]
    Truncated {
        /// The published table.
        table: String,
    },

    /// A table or its publication was changed.
    #[error("{table} was changed on the {side} by DDL while it was compared: verify again when that is over")]
    SchemaChanged {
        /// Where.
        side: Side,
        /// The published table.
        table: String,
    },

    /// Somebody waits for a lock that no reader lets him have; the check has made way.
    #[error("a TRUNCATE or DDL on the {side} waits for {table} while it is compared: verify again when that is over")]
    TableWanted {
        /// Where.
        side: Side,
        /// The published table.
        table: String,
    },

    /// So much was written in the middle of a fence that it can't be set aside.
    #[error("more than {most} rows were written within one fence: verify again when the load is over")]
    TooMuchChanged {
        /// How many can be set aside.
        most: usize,
    },

    /// The changes of a fence can't be read.
    #[error("the primary's changes can't be read: is this a version of PostgreSQL from 15 to 18?")]
    Stream {
        /// What was not understood.
        source: DecodeError,
    },

    /// The changes ended before the mark behind them.
    #[error("the primary's changes end before the position that was asked for: verify again")]
    NoMark,

    /// The first copy of some tables had not ended in time.
    #[error(
        "after {timeout:?} the first copy of these tables had not ended: {}; see the replica's log or allow more time",
        tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    TablesNotReady {
        /// How long was waited at most.
        timeout: Duration,
        /// The tables whose copy had not ended.
        tables: Vec<TableCopy>,
    },

    /// The replica had not applied what the primary had.
    #[error("after {timeout:?} the replica had reached {} and not {needed} ({state}); {hint}",
        reached.map_or_else(|| "no position".to_owned(), |lsn| lsn.to_string()))]
    ReplicaBehind {
        /// How long was waited at most.
        timeout: Duration,
        /// The primary's position to be reached.
        needed: Lsn,
        /// What the replica last said it had applied.
        reached: Option<Lsn>,
        /// What the subscription was doing.
        state: &'static str,
        /// What to do next.
        hint: &'static str,
    },

    /// The time ran out before anything could be said.
    #[error("the time-out of {timeout:?} passed while {doing}: allow more time")]
    TimedOut {
        /// How long was waited at most.
        timeout: Duration,
        /// What was under way.
        doing: String,
    },

    /// Whoever asked does not wait any longer.
    #[error("stopped while {doing}")]
    Stopped {
        /// What was under way.
        doing: String,
    },

    /// Rows that differ, or were written in every fence, so that nothing can be said of them.
    #[error(
        "{rows} rows of {} were written in each of {fences} fences in {timeout:?}, so that nothing can be said of them: \
         allow more time",
        tables.join(", ")
    )]
    KeptChanging {
        /// How long was tried.
        timeout: Duration,
        /// How many fences were raised.
        fences: u32,
        /// How many rows are undecided.
        rows: usize,
        /// Their tables.
        tables: Vec<String>,
    },
}

impl CheckError {
    /// Whether more time might have brought an answer.
    #[must_use]
    pub fn is_time_out(&self) -> bool {
        matches!(
            self,
            Self::TablesNotReady { .. }
                | Self::ReplicaBehind { .. }
                | Self::TimedOut { .. }
                | Self::KeptChanging { .. }
        )
    }

    /// The message and those of all its causes, in one line for people.
    #[must_use]
    pub fn with_causes(&self) -> String {
        with_causes(self)
    }
}

/// An error's message and those of all its causes, in one line for people.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Drivers repeat their cause in their own words; once is enough.
        if !line.contains(&said) {
            line.push_str(": ");
            line.push_str(&said);
        }
        cause = error.source();
    }
    line
}
