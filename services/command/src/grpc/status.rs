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
    domain::{ChangeError, Violation},
    store::StoreError,
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

/// A command of one kind has led to an outcome of another: only a request id whose hash lies could do that.
pub fn wrong_outcome() -> Status {
    with_reason(Code::Internal, "internal error", ERROR_DOMAIN, "STORED_ANSWER_INVALID")
}

fn precondition(reason: &str, subject: &str, message: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new());
    details.set_precondition_failure(vec![PreconditionViolation::new(reason, subject, message)]);
    Status::with_error_details(Code::FailedPrecondition, message, details)
}
