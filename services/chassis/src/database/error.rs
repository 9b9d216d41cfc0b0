//! What can go wrong between us and the database, sorted by what the caller can do about it.

use std::error::Error as _;

/// Why database work failed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// All pooled connections were busy for as long as a call may wait for one.
    #[error("all database connections are busy")]
    PoolExhausted,

    /// The database cannot be reached, is starting or stopping, or the connection broke before
    /// COMMIT. Nothing was changed.
    #[error("the database is unavailable")]
    Unavailable {
        /// What the driver said.
        source: sqlx::Error,
    },

    /// The deadline passed before COMMIT. Nothing was changed.
    #[error("the deadline passed before the database was done")]
    DeadlineExceeded,

    /// The connection was lost, or the deadline passed, while COMMIT was under way: the change may
    /// or may not be there.
    #[error("it is not known whether the database committed")]
    OutcomeUnknown {
        /// What the driver said; nothing when COMMIT was simply not answered in time.
        source: Option<sqlx::Error>,
    },

    /// The server has no room: its disk (53100) or its memory (53200) is full. Nothing was changed.
    #[error("the database has no room left")]
    Full {
        /// What the driver said.
        source: sqlx::Error,
    },

    /// The server takes no writes (25006): it was demoted or fenced. Nothing was changed.
    #[error("the database is read-only")]
    ReadOnly {
        /// What the driver said.
        source: sqlx::Error,
    },

    /// Another transaction was in the way (40001, 40P01), and this one gave way. Nothing was changed; the same work may
    /// succeed when it is done again.
    #[error("another transaction was in the way")]
    Conflict {
        /// What the driver said.
        source: sqlx::Error,
    },

    /// Anything else: a violated constraint, a broken statement, a refused password. Nothing was
    /// changed.
    #[error("the database refused")]
    Storage {
        /// What the driver said.
        source: sqlx::Error,
    },

    /// The work itself panicked; its transaction was rolled back.
    #[error("the database work panicked")]
    WorkPanicked,
}

impl DatabaseError {
    /// Name of the constraint that was violated, if that is what went wrong.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Storage { source } => source.as_database_error()?.constraint(),
            _ => None,
        }
    }

    /// The server's five-character SQLSTATE, if the server itself reported the error.
    #[must_use]
    pub fn sqlstate(&self) -> Option<String> {
        let source = self.source()?.downcast_ref::<sqlx::Error>()?;
        Some(source.as_database_error()?.code()?.into_owned())
    }

    /// The database is away, as was found out by somebody else, who has told why.
    #[must_use]
    pub fn away() -> Self {
        Self::Unavailable { source: sqlx::Error::PoolClosed }
    }

    /// What an error of COMMIT means. A server that could still refuse has rolled back. Where the connection or the
    /// server went away, or what came back was no refusal, nobody knows.
    #[must_use]
    pub fn from_commit(error: sqlx::Error) -> Self {
        let refused = error.as_database_error().is_some_and(|reported| match reported.code().as_deref() {
            // statement_completion_unknown says itself what it is.
            Some("40003") => false,
            code => !matches!(class_of(code), Class::Away | Class::TimedOut),
        });
        match refused {
            true => Self::from(error),
            false => Self::OutcomeUnknown { source: Some(error) },
        }
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(source: sqlx::Error) -> Self {
        match &source {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable { source }
            }
            sqlx::Error::PoolTimedOut => Self::PoolExhausted,
            sqlx::Error::Database(reported) => match class_of(reported.code().as_deref()) {
                Class::Away => Self::Unavailable { source },
                Class::TimedOut => Self::DeadlineExceeded,
                Class::Full => Self::Full { source },
                Class::ReadOnly => Self::ReadOnly { source },
                Class::Conflict => Self::Conflict { source },
                Class::Other => Self::Storage { source },
            },
            _ => Self::Storage { source },
        }
    }
}

enum Class {
    Away,
    TimedOut,
    Full,
    ReadOnly,
    Conflict,
    Other,
}

fn class_of(sqlstate: Option<&str>) -> Class {
    match sqlstate {
        // admin_shutdown, crash_shutdown, cannot_connect_now (starting up, recovering).
        Some("57P01" | "57P02" | "57P03") => Class::Away,
        // too_many_connections: as good as away, and over as soon as somebody leaves.
        Some("53300") => Class::Away,
        // invalid_authorization_specification: the role may not log in, as while a replica takes the primary's place.
        Some("28000") => Class::Away,
        // query_canceled is what statement_timeout reports; 25P04 is transaction_timeout.
        Some("57014" | "25P04") => Class::TimedOut,
        // disk_full, out_of_memory.
        Some("53100" | "53200") => Class::Full,
        // read_only_sql_transaction.
        Some("25006") => Class::ReadOnly,
        // serialization_failure, deadlock_detected.
        Some("40001" | "40P01") => Class::Conflict,
        Some(code) if code.starts_with("08") => Class::Away,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::io;

    use sqlx::error::{DatabaseError as Reported, ErrorKind};

    use super::*;

    /// What a server reports: a code and perhaps a constraint.
    #[derive(Debug, thiserror::Error)]
    #[error("reported {code}")]
    struct Report {
        code: &'static str,
        constraint: Option<&'static str>,
    }

    impl Reported for Report {
        fn message(&self) -> &str {
            self.code
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(Cow::Borrowed(self.code))
        }
        fn constraint(&self) -> Option<&str> {
            self.constraint
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn reported(code: &'static str) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Report { code, constraint: Some("row_total_check") }))
    }

    fn broken_pipe() -> sqlx::Error {
        sqlx::Error::Io(io::ErrorKind::BrokenPipe.into())
    }

    #[test]
    fn a_server_that_goes_comes_or_is_full_is_unavailable() {
        for code in ["57P01", "57P02", "57P03", "08000", "08006", "28000", "53300"] {
            let error = DatabaseError::from(reported(code));
            assert!(matches!(error, DatabaseError::Unavailable { .. }), "{code}");
        }
        let error = DatabaseError::from(broken_pipe());
        assert!(matches!(error, DatabaseError::Unavailable { .. }));
    }

    #[test]
    fn a_cancelled_statement_is_a_passed_deadline() {
        let error = DatabaseError::from(reported("57014"));
        assert!(matches!(error, DatabaseError::DeadlineExceeded));
    }

    #[test]
    fn a_server_without_room_a_read_only_one_and_a_conflict_are_told_apart() {
        for code in ["53100", "53200"] {
            assert!(matches!(DatabaseError::from(reported(code)), DatabaseError::Full { .. }), "{code}");
        }
        assert!(matches!(DatabaseError::from(reported("25006")), DatabaseError::ReadOnly { .. }));
        for code in ["40001", "40P01"] {
            let error = DatabaseError::from(reported(code));
            assert!(matches!(error, DatabaseError::Conflict { .. }), "{code}");
            assert_eq!(error.sqlstate().as_deref(), Some(code));
        }
    }

    #[test]
    fn a_violated_constraint_keeps_its_name_and_code() {
        let error = DatabaseError::from(reported("23514"));
        assert!(matches!(error, DatabaseError::Storage { .. }));
        assert_eq!(error.constraint(), Some("row_total_check"));
        assert_eq!(error.sqlstate().as_deref(), Some("23514"));
    }

    #[test]
    fn a_full_pool_is_exhausted() {
        let error = DatabaseError::from(sqlx::Error::PoolTimedOut);
        assert!(matches!(error, DatabaseError::PoolExhausted));
    }

    #[test]
    fn a_commit_that_lost_its_connection_has_an_unknown_outcome() {
        let garbled = sqlx::Error::Protocol("not what a COMMIT is answered with".to_owned());
        let lost = [broken_pipe(), garbled, sqlx::Error::WorkerCrashed];
        let reported = ["57P01", "57014", "08006", "40003"].map(reported);
        for error in lost.into_iter().chain(reported) {
            let error = DatabaseError::from_commit(error);
            assert!(matches!(error, DatabaseError::OutcomeUnknown { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_commit_that_the_server_refused_is_definite() {
        let error = DatabaseError::from_commit(reported("40001"));
        assert!(matches!(error, DatabaseError::Conflict { .. }), "{error:?}");
        let error = DatabaseError::from_commit(reported("23503"));
        assert!(matches!(error, DatabaseError::Storage { .. }), "{error:?}");
    }
}
