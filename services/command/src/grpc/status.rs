//! The only place where an error becomes a Status.

use std::collections::HashMap;

use tandem_chassis::status::{WrongField, internal, invalid_fields, not_found, of_database, with_reason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, PreconditionViolation, StatusExt as _};

use crate::{
    domain::{ChangeError, Violation},
    store::StoreError,
};

/// The domain of every ErrorInfo.
pub const ERROR_DOMAIN: &str = "tandem.sales";

/// INVALID_ARGUMENT with one violation for each wrong field.
pub fn invalid(violations: &[Violation]) -> Status {
    let wrong = violations.iter().map(|Violation { field, fault }| WrongField {
        field: field.clone(),
        reason: fault.reason(),
        description: fault.to_string(),
    });
    invalid_fields(ERROR_DOMAIN, &wrong.collect::<Vec<_>>())
}

/// What an error means to the caller. No SQL and no message of the database passes.
pub fn of(error: StoreError) -> Status {
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
