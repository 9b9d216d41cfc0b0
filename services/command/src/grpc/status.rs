//! The only place where an error becomes a Status.

use std::collections::HashMap;

use tandem_chassis::{
    database::DatabaseError,
    status::{WrongField, internal, invalid_fields, not_found, of_database, retryable, with_reason, with_source},
};
use tandem_proto::agreed::ERROR_DOMAIN;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, PreconditionViolation, StatusExt as _};

use crate::{
    domain::{
        ChangeError, Violation,
        import::{SequenceError, in_sale},
    },
    import::ImportError,
    store::{ImportWriteError, StoreError},
};

/// INVALID_ARGUMENT with one violation for each wrong field.
pub fn invalid(violations: &[Violation]) -> Status {
    let wrong = violations.iter().map(|Violation { field, fault }| WrongField {
        field: field.clone(),
        reason: fault.reason(),
        description: fault.to_string(),
    });
    invalid_fields(ERROR_DOMAIN, &wrong.collect::<Vec<_>>())
}

/// What an error means to the caller. No SQL and no message of the database passes. `can_retry` says whether the command
/// had a request id, so that a retry finds out what has become of it.
pub fn of(error: StoreError, can_retry: bool) -> Status {
    match error {
        StoreError::SaleNotFound { transaction_id } => {
            not_found(ERROR_DOMAIN, "sales.v1.SalesTransaction", &transaction_id.to_string())
        }
        StoreError::Change(ChangeError::ItemNotFound { item_id }) => {
            not_found(ERROR_DOMAIN, "sales.v1.SalesItem", &item_id.to_string())
        }
        StoreError::Change(ChangeError::Invalid(violation)) | StoreError::Refused(violation) => invalid(&[violation]),
        StoreError::Change(ChangeError::EtagMismatch { current }) => {
            let metadata = HashMap::from([("current_etag".to_owned(), current.to_string())]);
            let details = ErrorDetails::with_error_info("ETAG_MISMATCH", ERROR_DOMAIN, metadata);
            let message = "the sale was changed since it was read; read it again";
            Status::with_error_details(Code::Aborted, message, details)
        }
        StoreError::Change(ChangeError::LastItem) => {
            let message = "the last item of a sale can't be taken off; delete the sale instead";
            precondition("LAST_ITEM", "item_id", message)
        }
        StoreError::RequestIdReused { request_id } => {
            let message = "this request id was used for another command; make a new id for each command";
            precondition("REQUEST_ID_REUSED", &request_id.to_string(), message)
        }
        StoreError::StoredSaleInvalid(_) => internal(ERROR_DOMAIN, "STORED_SALE_INVALID", error),
        StoreError::Answer(_) => internal(ERROR_DOMAIN, "STORED_ANSWER_INVALID", error),
        StoreError::AnswerLost { .. } => internal(ERROR_DOMAIN, "STORED_ANSWER_INVALID", error),
        StoreError::QueueFull => {
            let message = "too many commands are waiting; try again later";
            retryable(Code::ResourceExhausted, message, ERROR_DOMAIN, "QUEUE_FULL")
        }
        StoreError::DeadlinePassed => {
            let message = "the deadline passed before the command's turn came; nothing was changed";
            with_reason(Code::DeadlineExceeded, message, ERROR_DOMAIN, "DEADLINE_EXCEEDED")
        }
        StoreError::Database(error @ DatabaseError::OutcomeUnknown { .. }) if can_retry => {
            let message = "the connection to the database broke at COMMIT; retry with the same request id";
            with_source(retryable(Code::Unavailable, message, ERROR_DOMAIN, "OUTCOME_UNKNOWN"), error)
        }
        StoreError::Database(error) => of_database(ERROR_DOMAIN, error),
    }
}

/// What the end of an import's stream means to the caller, who can resume.
pub fn of_import(error: ImportError) -> Status {
    let message = error.to_string();
    match error {
        ImportError::Invalid(violations) => invalid(&violations),
        ImportError::StartedTwice => argument(&message, "IMPORT_ALREADY_STARTED"),
        ImportError::Sequence(error) => of_sequence(error),
        ImportError::RowInvalid { row_number, violations } => of_row(row_number, violations),
        ImportError::Unfinished => {
            let message = "the stream ended without `finish`; resume behind the last acknowledgement";
            argument(message, "IMPORT_UNFINISHED")
        }
        ImportError::Idle => {
            let message = "the stream was idle for too long; resume behind the last acknowledgement";
            with_reason(Code::DeadlineExceeded, message, ERROR_DOMAIN, "IMPORT_IDLE")
        }
        ImportError::TooMany => {
            let message = "too many imports are in progress; try again later";
            retryable(Code::ResourceExhausted, message, ERROR_DOMAIN, "TOO_MANY_IMPORTS")
        }
        ImportError::ShuttingDown => {
            let message = "the server is shutting down; resume behind the last acknowledgement";
            retryable(Code::Unavailable, message, ERROR_DOMAIN, "SHUTTING_DOWN")
        }
        ImportError::CallerLeft => with_reason(Code::Cancelled, &message, ERROR_DOMAIN, "CANCELLED"),
        // What is no status here has lost its details on the way; the layers say what they know of it.
        ImportError::Unreadable(source) => match source.downcast::<Status>() {
            Ok(status) => *status,
            Err(source) => Status::from_error(source),
        },
        ImportError::Write(error) => of_import_write(error),
    }
}

fn of_import_write(error: ImportWriteError) -> Status {
    match error {
        ImportWriteError::Superseded => {
            let message = "a newer stream has taken the import over";
            with_reason(Code::Aborted, message, ERROR_DOMAIN, "IMPORT_SUPERSEDED")
        }
        ImportWriteError::ModeChanged { .. } => {
            let message = "the import was begun with the other value of all_or_nothing; make a new id for each import";
            precondition("IMPORT_MODE_CHANGED", "start.all_or_nothing", message)
        }
        ImportWriteError::TooManyRefused => argument(&error.to_string(), "IMPORT_TOO_MANY_REFUSED"),
        ImportWriteError::RowRefused { row_number, violations } => of_row(row_number, violations),
        ImportWriteError::Store(StoreError::Database(error @ DatabaseError::OutcomeUnknown { .. })) => {
            let message = "the connection to the database broke; resume to find out what is durable";
            with_source(retryable(Code::Unavailable, message, ERROR_DOMAIN, "OUTCOME_UNKNOWN"), error)
        }
        ImportWriteError::Store(error) => of(error, true),
    }
}

fn of_sequence(error: SequenceError) -> Status {
    match error {
        SequenceError::Gap { expected, found } => {
            let numbers = [("expected_row_number", expected), ("found_row_number", found)];
            let metadata = HashMap::from(numbers.map(|(name, number)| (name.to_owned(), number.to_string())));
            let details = ErrorDetails::with_error_info("IMPORT_ROW_GAP", ERROR_DOMAIN, metadata);
            Status::with_error_details(Code::InvalidArgument, error.to_string(), details)
        }
        SequenceError::TooLong => argument(&error.to_string(), "IMPORT_TOO_LONG"),
        SequenceError::ContentChanged => {
            let message = "the rows that are durable were sent with another content; make a new id for each import";
            precondition("IMPORT_CONTENT_CHANGED", "rows", message)
        }
    }
}

/// The row without which none may be written.
fn of_row(row_number: i64, mut violations: Vec<Violation>) -> Status {
    let row = format!("rows[{row_number}]");
    if violations.is_empty() {
        let metadata = HashMap::from([("row_number".to_owned(), row_number.to_string())]);
        let mut details = ErrorDetails::with_error_info("REFUSED_BY_DATABASE", ERROR_DOMAIN, metadata);
        details.add_bad_request_violation(&row, "was refused by the database");
        let message = format!("{row} was refused by the database; nothing was stored");
        return Status::with_error_details(Code::InvalidArgument, message, details);
    }
    for violation in &mut violations {
        violation.field = format!("{row}.{}", in_sale(&violation.field));
    }
    invalid(&violations)
}

fn argument(message: &str, reason: &str) -> Status {
    with_reason(Code::InvalidArgument, message, ERROR_DOMAIN, reason)
}

/// A command of one kind has led to an outcome of another: only a request id whose hash lies could do that.
pub fn wrong_outcome() -> Status {
    with_reason(Code::Internal, "internal error", ERROR_DOMAIN, "STORED_ANSWER_INVALID")
}

fn precondition(reason: &str, subject: &str, message: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new());
    details.set_precondition_failure(vec![PreconditionViolation::new(reason, subject, message)]);
    Status::with_error_details(Code::FailedPrecondition, message, details)
}
