//! The only place where an error becomes a Status.

use std::{collections::HashMap, time::Duration};

use tandem_chassis::{
    database::DatabaseError,
    status::{RETRY_DELAY, WrongField, invalid_fields, of_database, with_reason},
};
use tandem_proto::{agreed::ERROR_DOMAIN, sales::query::v1::ReadState};
use tandem_replication::Position;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use uuid::Uuid;

use super::encode;
use crate::{
    domain::Violation,
    freshness::{FreshnessError, Observed, lag_bytes},
};

const SALE: &str = "sales.v1.SalesTransaction";

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

/// There is no such sale, as far as this replica knows; how much that is, the caller is told like with any answer.
pub fn no_sale(transaction_id: Uuid, read_state: Option<&ReadState>) -> Status {
    let mut metadata = HashMap::new();
    if let Some(state) = read_state {
        metadata.insert("replica_name".to_owned(), state.replica_name.clone());
        if let Some(staleness) = state.staleness.and_then(|staleness| Duration::try_from(staleness).ok()) {
            metadata.insert("staleness_seconds".to_owned(), seconds(staleness));
        }
    }
    let id = transaction_id.to_string();
    let mut details = ErrorDetails::with_error_info("NOT_FOUND", ERROR_DOMAIN, metadata);
    details.set_resource_info(SALE, id.as_str(), "", "the replica has none with this id");
    let mut status = Status::with_error_details(Code::NotFound, format!("{SALE} {id} was not found"), details);
    encode::carry_token(status.metadata_mut(), read_state);
    status
}

/// The replica is not as fresh as was asked.
pub fn not_fresh(error: FreshnessError) -> Status {
    match error {
        FreshnessError::OtherSystem => refused(&error, "TOKEN_OF_ANOTHER_SYSTEM"),
        FreshnessError::OtherTimeline => refused(&error, "TOKEN_OF_ANOTHER_TIMELINE"),
        FreshnessError::PrimaryNotConfigured => refused(&error, "PRIMARY_NOT_CONFIGURED"),
        FreshnessError::Primary(error) => of_database(ERROR_DOMAIN, error),
        FreshnessError::Behind { observed, wanted } => {
            let metadata = how_far(observed, wanted);
            let mut details = ErrorDetails::with_error_info("REPLICA_BEHIND", ERROR_DOMAIN, metadata);
            details.set_retry_info(Some(RETRY_DELAY));
            let message =
                "the replica did not become as fresh as asked before the deadline; try again, or ask for less";
            Status::with_error_details(Code::Unavailable, message, details)
        }
    }
}

/// What is known of a replica that is behind; what is not known is left out.
fn how_far(Observed { applied, staleness }: Observed, wanted: Option<Position>) -> HashMap<String, String> {
    let copying = (applied.tables_copying > 0).then(|| applied.tables_copying.to_string());
    let known = [
        ("replica_lsn", applied.position.map(|position| position.lsn.to_string())),
        ("wanted_lsn", wanted.map(|wanted| wanted.lsn.to_string())),
        ("lag_bytes", wanted.and_then(|wanted| lag_bytes(wanted, applied)).map(|bytes| bytes.to_string())),
        ("staleness_seconds", staleness.map(seconds)),
        ("tables_copying", copying),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

fn refused(error: &FreshnessError, reason: &str) -> Status {
    with_reason(Code::FailedPrecondition, &error.to_string(), ERROR_DOMAIN, reason)
}
