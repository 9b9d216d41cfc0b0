//! The only place where an error becomes a Status.

use std::collections::HashMap;

use chrono::Utc;
use tandem_chassis::{
    database::DatabaseError,
    status::{RETRY_DELAY, WrongField, invalid_fields, not_found, of_database, with_reason},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use uuid::Uuid;

use crate::{domain::Violation, freshness::FreshnessError};

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

/// What a failure of the replica means to the caller.
pub fn of(error: DatabaseError) -> Status {
    of_database(ERROR_DOMAIN, error)
}

/// There is no such sale, as far as this replica knows.
pub fn no_sale(transaction_id: Uuid) -> Status {
    not_found(ERROR_DOMAIN, "sales.v1.SalesTransaction", &transaction_id.to_string())
}

/// The replica is not as fresh as was asked.
pub fn not_fresh(error: FreshnessError) -> Status {
    match error {
        FreshnessError::OtherSystem => refused(&error, "TOKEN_OF_ANOTHER_SYSTEM"),
        FreshnessError::OtherTimeline => refused(&error, "TOKEN_OF_ANOTHER_TIMELINE"),
        FreshnessError::PrimaryNotConfigured => refused(&error, "PRIMARY_NOT_CONFIGURED"),
        FreshnessError::Primary(error) => of_database(ERROR_DOMAIN, error),
        FreshnessError::Behind { applied, wanted } => {
            let mut metadata = HashMap::new();
            if let Some(position) = applied.position {
                metadata.insert("replica_lsn".to_owned(), position.lsn.to_string());
                if let Some(wanted) = wanted {
                    let behind = wanted.lsn.bytes_since(position.lsn);
                    metadata.insert("wanted_lsn".to_owned(), wanted.lsn.to_string());
                    metadata.insert("lag_bytes".to_owned(), behind.to_string());
                }
            }
            if let Some(staleness) = applied.staleness(Utc::now()) {
                metadata.insert("staleness_seconds".to_owned(), format!("{:.3}", staleness.as_secs_f64()));
            }
            let mut details = ErrorDetails::with_error_info("REPLICA_BEHIND", ERROR_DOMAIN, metadata);
            details.set_retry_info(Some(RETRY_DELAY));
            let message =
                "the replica did not become as fresh as asked before the deadline; try again, or ask for less";
            Status::with_error_details(Code::Unavailable, message, details)
        }
    }
}

fn refused(error: &FreshnessError, reason: &str) -> Status {
    with_reason(Code::FailedPrecondition, &error.to_string(), ERROR_DOMAIN, reason)
}
