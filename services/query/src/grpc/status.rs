//! The only place where an error becomes a Status.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tandem_chassis::{
    database::DatabaseError,
    status::{RETRY_DELAY, WrongField, invalid_fields, of_database, retryable, with_reason, with_source},
};
use tandem_proto::{agreed::ERROR_DOMAIN, sales::query::v1::ReadState};
use tandem_replication::Position;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use uuid::Uuid;

use super::encode;
use crate::{
    domain::{
        TooManySeries, Violation,
        limits::{MAX_POINTS, MAX_SERIES},
    },
    freshness::{FreshnessError, Observed, lag_bytes},
    live::{WaitEnd, WatchEnd},
};

const SALE: &str = "sales.v1.SalesTransaction";
const BATCH: &str = "sales.query.v1.Batch";

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
    not_found(SALE, &transaction_id.to_string(), read_state)
}

/// There is no such batch, as far as this replica knows.
pub fn no_batch(batch_id: &str, read_state: Option<&ReadState>) -> Status {
    not_found(BATCH, batch_id, read_state)
}

fn not_found(kind: &str, id: &str, read_state: Option<&ReadState>) -> Status {
    let mut metadata = HashMap::new();
    if let Some(state) = read_state {
        metadata.insert("replica_name".to_owned(), state.replica_name.clone());
        if let Some(staleness) = state.staleness.and_then(|staleness| Duration::try_from(staleness).ok()) {
            metadata.insert("staleness_seconds".to_owned(), seconds(staleness));
        }
    }
    let mut details = ErrorDetails::with_error_info("NOT_FOUND", ERROR_DOMAIN, metadata);
    details.set_resource_info(kind, id, "", "the replica has none with this id");
    let mut status = Status::with_error_details(Code::NotFound, format!("{kind} {id} was not found"), details);
    encode::carry_token(status.metadata_mut(), read_state);
    status
}

/// What was asked for is more than an answer holds, which only its figures show: a retry changes nothing.
pub fn too_many_series(error: TooManySeries) -> Status {
    let known =
        [("steps", error.steps), ("groups", error.groups), ("max_groups", MAX_SERIES), ("max_points", MAX_POINTS)];
    let metadata: HashMap<_, _> = known.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect();
    let details = ErrorDetails::with_error_info("TOO_MANY_POINTS", ERROR_DOMAIN, metadata);
    Status::with_error_details(Code::FailedPrecondition, error.to_string(), details)
}

/// The replica of this name is not as fresh as was asked.
pub fn not_fresh(error: FreshnessError, replica_name: &str) -> Status {
    match error {
        FreshnessError::OtherSystem => refused(&error, "TOKEN_OF_ANOTHER_SYSTEM"),
        FreshnessError::OtherTimeline => refused(&error, "TOKEN_OF_ANOTHER_TIMELINE"),
        FreshnessError::PrimaryNotConfigured => refused(&error, "PRIMARY_NOT_CONFIGURED"),
        FreshnessError::Primary(error) => of_database(ERROR_DOMAIN, error),
        FreshnessError::Behind { observed, wanted } => {
            let mut metadata = how_far(observed, wanted);
            metadata.insert("replica_name".to_owned(), replica_name.to_owned());
            let mut details = ErrorDetails::with_error_info("REPLICA_BEHIND", ERROR_DOMAIN, metadata);
            details.set_retry_info(Some(RETRY_DELAY));
            let message =
                "the replica did not become as fresh as asked before the deadline; try again, or ask for less";
            Status::with_error_details(Code::Unavailable, message, details)
        }
    }
}

/// Why a stream did not begin, or ended. What failed in the replica is logged where it failed.
pub fn watch_ended(end: WatchEnd) -> Status {
    let refused = |code, reason| with_reason(code, &end.to_string(), ERROR_DOMAIN, reason);
    match &end {
        WatchEnd::Expired => refused(Code::OutOfRange, "WATCH_TOKEN_EXPIRED"),
        WatchEnd::AnotherReplica => refused(Code::FailedPrecondition, "WATCH_TOKEN_OF_ANOTHER_REPLICA"),
        WatchEnd::Truncated => refused(Code::Aborted, "TRUNCATED"),
        WatchEnd::TooSlow => refused(Code::ResourceExhausted, "WATCHER_TOO_SLOW"),
        WatchEnd::TooMany => retryable(Code::ResourceExhausted, &end.to_string(), ERROR_DOMAIN, "TOO_MANY_WATCHERS"),
        WatchEnd::DeadlineExceeded => refused(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        WatchEnd::ShuttingDown => retryable(Code::Unavailable, &end.to_string(), ERROR_DOMAIN, "SHUTTING_DOWN"),
        WatchEnd::Panicked => of(DatabaseError::WorkPanicked),
        WatchEnd::Database(error) => unavailable(error),
    }
}

/// Why a wait for a batch did not begin, or ended without it. What failed in the replica is logged where it failed.
pub fn wait_ended(end: WaitEnd) -> Status {
    let passing = |code, reason| retryable(code, &end.to_string(), ERROR_DOMAIN, reason);
    match &end {
        WaitEnd::Failed { error } => {
            let metadata = HashMap::from([("batch_error".to_owned(), error.clone())]);
            let details = ErrorDetails::with_error_info("BATCH_FAILED", ERROR_DOMAIN, metadata);
            Status::with_error_details(Code::FailedPrecondition, end.to_string(), details)
        }
        WaitEnd::TooMany => passing(Code::ResourceExhausted, "TOO_MANY_WATCHERS"),
        WaitEnd::DeadlineExceeded => {
            with_reason(Code::DeadlineExceeded, &end.to_string(), ERROR_DOMAIN, "DEADLINE_EXCEEDED")
        }
        WaitEnd::ShuttingDown => passing(Code::Unavailable, "SHUTTING_DOWN"),
        WaitEnd::Database(error) => unavailable(error),
    }
}

/// The replica failed a stream.
fn unavailable(error: &Arc<DatabaseError>) -> Status {
    let message = "the database is unavailable; try again later";
    with_source(retryable(Code::Unavailable, message, ERROR_DOMAIN, "DATABASE_UNAVAILABLE"), Arc::clone(error))
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
