//! Building a [`Status`] that carries `google.rpc.ErrorInfo` for the caller and its private cause
//! for the log.
//!
//! The cause rides along as the status's source: the layers write it into the one log line of the
//! call and never send it. An error inside a stream that already began reaches the caller as
//! trailers, which have no room for a cause: log such a cause where the stream fails.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::database::DatabaseError;

/// What a caller who was refused for lack of room, or met a database that is away, should wait
/// before the next try: longer than a burst, shorter than a person's patience.
pub const RETRY_DELAY: Duration = Duration::from_millis(500);

/// A status with `ErrorInfo {domain, reason}` and nothing else.
#[must_use]
pub fn with_reason(code: Code, message: &str, domain: &str, reason: &str) -> Status {
    Status::with_error_details(code, message, error_info(domain, reason))
}

/// A status with `ErrorInfo {domain, reason}` and `RetryInfo`: the same call may succeed later.
#[must_use]
pub fn retryable(code: Code, message: &str, domain: &str, reason: &str) -> Status {
    let mut details = error_info(domain, reason);
    details.set_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(code, message, details)
}

/// INTERNAL with `ErrorInfo {domain, reason}`; `source` goes to the log and never to the caller.
#[must_use]
pub fn internal(domain: &str, reason: &str, source: impl Error + Send + Sync + 'static) -> Status {
    let status = with_reason(Code::Internal, "internal error", domain, reason);
    with_source(status, source)
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongField {
    /// Its path in the request: `transaction.items[2].quantity`.
    pub field: String,
    /// Stable, for programs: `OUT_OF_RANGE`.
    pub reason: &'static str,
    /// For people: follows the field's name in a sentence.
    pub description: String,
}

/// Fields that one answer names. They travel in response headers, of which clients commonly take
/// 8 KiB in all.
const MAX_WRONG_FIELDS: usize = 20;

/// INVALID_ARGUMENT with `BadRequest`, one violation for each wrong field, and `ErrorInfo` with
/// reason INVALID_FIELDS, whose metadata has each field's reason. Beyond 20 fields it says how many
/// there are and names the first 20.
#[must_use]
pub fn invalid_fields(domain: &str, wrong: &[WrongField]) -> Status {
    let named = &wrong[..wrong.len().min(MAX_WRONG_FIELDS)];
    let reasons = named.iter().map(|wrong| (wrong.field.clone(), wrong.reason.to_owned()));
    let mut details = ErrorDetails::with_error_info("INVALID_FIELDS", domain, reasons.collect::<HashMap<_, _>>());
    for wrong in named {
        details.add_bad_request_violation(&wrong.field, &wrong.description);
    }
    let first = named.first().map_or_else(String::new, |wrong| format!("{} {}", wrong.field, wrong.description));
    let message = match wrong.len() {
        1 => first,
        all if all > named.len() => {
            format!("{all} fields are wrong, {} of them are in the details; the first: {first}", named.len())
        }
        all => format!("{all} fields are wrong, all of them are in the details; the first: {first}"),
    };
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// NOT_FOUND with `ResourceInfo` and `ErrorInfo` with reason NOT_FOUND.
#[must_use]
pub fn not_found(domain: &str, resource_type: &str, id: &str) -> Status {
    let mut details = error_info(domain, "NOT_FOUND");
    details.set_resource_info(resource_type, id, "", "there is none with this id");
    Status::with_error_details(Code::NotFound, format!("{resource_type} {id} was not found"), details)
}

/// The same status with a private cause that the layers log and never send.
#[must_use]
pub fn with_source(mut status: Status, source: impl Error + Send + Sync + 'static) -> Status {
    status.set_source(Arc::new(source));
    status
}

/// What a failure of the database means to a caller. Constraints that mean something to the
/// service are the service's to match before it comes here.
#[must_use]
pub fn of_database(domain: &str, error: DatabaseError) -> Status {
    let status = match &error {
        DatabaseError::PoolExhausted => retryable(
            Code::ResourceExhausted,
            "too many calls are waiting for the database; try again later",
            domain,
            "DATABASE_POOL_EXHAUSTED",
        ),
        DatabaseError::Unavailable { .. } => {
            retryable(Code::Unavailable, "the database is unavailable; try again later", domain, "DATABASE_UNAVAILABLE")
        }
        DatabaseError::DeadlineExceeded => with_reason(
            Code::DeadlineExceeded,
            "the deadline passed before the database was done; nothing was changed",
            domain,
            "DEADLINE_EXCEEDED",
        ),
        DatabaseError::OutcomeUnknown { .. } => with_reason(
            Code::Unknown,
            "it is not known whether the change was made; repeat the same request to find out",
            domain,
            "OUTCOME_UNKNOWN",
        ),
        DatabaseError::Full { .. } => retryable(
            Code::ResourceExhausted,
            "the database has no room left; nothing was changed; try again later",
            domain,
            "DATABASE_FULL",
        ),
        DatabaseError::ReadOnly { .. } => retryable(
            Code::Unavailable,
            "the database takes no writes now; nothing was changed; try again later",
            domain,
            "DATABASE_READ_ONLY",
        ),
        DatabaseError::Conflict { .. } => {
            retryable(Code::Aborted, "another call was in the way; nothing was changed; try again", domain, "CONFLICT")
        }
        DatabaseError::Storage { .. } => with_reason(Code::Internal, "internal error", domain, "STORAGE"),
        DatabaseError::WorkPanicked => with_reason(Code::Internal, "internal error", domain, "PANIC"),
    };
    with_source(status, error)
}

/// The specification's name of a code, as logs and metrics carry it.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The error and everything beneath it, on one line.
#[must_use]
pub fn chain_of(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        write!(line, ": {cause}").expect("writing to a string cannot fail");
        next = cause.source();
    }
    line
}

fn error_info(domain: &str, reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, domain, HashMap::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "test.example";

    fn every_database_error() -> Vec<DatabaseError> {
        vec![
            DatabaseError::PoolExhausted,
            DatabaseError::from(sqlx::Error::WorkerCrashed),
            DatabaseError::DeadlineExceeded,
            DatabaseError::OutcomeUnknown { source: None },
            DatabaseError::Full { source: sqlx::Error::RowNotFound },
            DatabaseError::ReadOnly { source: sqlx::Error::RowNotFound },
            DatabaseError::Conflict { source: sqlx::Error::RowNotFound },
            DatabaseError::from(sqlx::Error::RowNotFound),
            DatabaseError::WorkPanicked,
        ]
    }

    #[test]
    fn every_database_error_carries_error_info_and_keeps_its_cause_private() {
        for error in every_database_error() {
            let cause = error.to_string();
            let status = of_database(DOMAIN, error);
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.domain, DOMAIN);
            assert_eq!(status.source().unwrap().to_string(), cause);
        }
    }

    #[test]
    fn only_failures_that_pass_by_themselves_invite_a_retry() {
        let retried: Vec<(Code, String)> = every_database_error()
            .into_iter()
            .map(|error| of_database(DOMAIN, error))
            .filter(|status| status.get_details_retry_info().is_some())
            .map(|status| (status.code(), status.get_details_error_info().unwrap().reason))
            .collect();
        let expected = [
            (Code::ResourceExhausted, "DATABASE_POOL_EXHAUSTED"),
            (Code::Unavailable, "DATABASE_UNAVAILABLE"),
            (Code::ResourceExhausted, "DATABASE_FULL"),
            (Code::Unavailable, "DATABASE_READ_ONLY"),
            (Code::Aborted, "CONFLICT"),
        ];
        assert_eq!(retried, expected.map(|(code, reason)| (code, reason.to_owned())));
    }

    #[test]
    fn a_chain_names_every_cause() {
        let error = DatabaseError::from(sqlx::Error::RowNotFound);
        let line = chain_of(&error);
        assert!(line.starts_with("the database refused: "), "{line}");
        assert!(line.contains("no rows"), "{line}");
    }
}
