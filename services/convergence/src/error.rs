//! Why a comparison could not be made.

use std::fmt;
use std::time::Duration;

use tandem_replication::Lsn;

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
    #[error("the {side} lacks {table} or one of its published columns: run the migrations of both sides")]
    SchemasDiffer {
        /// Where it is missing.
        side: Side,
        /// The published table.
        table: String,
        /// What the database said.
        source: sqlx::Error,
    },

    /// The first copy of some tables had not ended in time.
    #[error(
        "after {timeout:?} these tables were still being copied to the replica: {}; see the replica's log \
         or allow more time",
        tables.join(", ")
    )]
    TablesNotReady {
        /// How long was waited at most.
        timeout: Duration,
        /// The tables whose copy had not ended.
        tables: Vec<String>,
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

    /// No round found these tables both still and compared.
    #[error(
        "the primary kept changing while it was compared: nothing can be said of {} after {rounds} rounds \
         in {timeout:?}; allow more time or pause the writers",
        tables.join(", ")
    )]
    KeptChanging {
        /// How long was tried.
        timeout: Duration,
        /// How many rounds ended.
        rounds: u32,
        /// The tables that stayed undecided.
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
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
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
}
