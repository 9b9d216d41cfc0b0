//! What becomes of a batch that the database refuses: it is halved until the culprit stands alone, and the others are
//! committed without it.

use std::time::Duration;

use tandem_chassis::database::DatabaseError;
use tokio::time::timeout;

use crate::{
    domain::Command,
    store::{self, LaneConnection, Receipt, StoreError},
};

/// A server that has not answered for so long, though it ends its statements earlier by itself, is frozen or cut off.
const SILENCE: Duration = Duration::from_secs(15);

type Results = Vec<Result<Receipt, StoreError>>;

/// Commits the commands, and says whether the connection can be used again.
pub async fn write(connection: &mut LaneConnection, commands: &[Command], patience: Duration) -> (Results, bool) {
    let mut results: Results = Vec::with_capacity(commands.len());
    // Parts still to be written, the next one last: each by its first command and the one behind its last.
    let mut parts = vec![(0, commands.len())];
    while let Some((start, end)) = parts.pop() {
        let part = &commands[start..end];
        let written = timeout(SILENCE, store::write(connection, part, patience)).await;
        match written.unwrap_or_else(|_| Err(DatabaseError::OutcomeUnknown { source: None }.into())) {
            Ok(written) => results.extend(written),
            Err(error) if is_end_of_connection(&error) => {
                // Of this part it is known, or not, as the error says; what comes behind was not begun.
                results.extend(same_for_all(part.len(), error));
                results.extend(all_fail(commands.len() - end, DatabaseError::away()));
                return (results, false);
            }
            Err(error) if part.len() == 1 => {
                let named = timeout(SILENCE, store::name_culprit(connection, &part[0], error)).await;
                results.push(Err(named.unwrap_or_else(|_| DatabaseError::away().into())));
            }
            Err(error) => {
                tracing::debug!(commands = part.len(), %error, "a batch is halved");
                let middle = start + part.len() / 2;
                parts.push((middle, end));
                parts.push((start, middle));
            }
        }
    }
    (results, true)
}

/// The same failure for each of several commands.
pub fn all_fail(count: usize, error: DatabaseError) -> Results {
    same_for_all(count, error.into())
}

/// The first gets the error with its cause, so that the cause is logged once.
fn same_for_all(count: usize, error: StoreError) -> Results {
    let is_unknown = matches!(error, StoreError::Database(DatabaseError::OutcomeUnknown { .. }));
    let other = || if is_unknown { DatabaseError::OutcomeUnknown { source: None } } else { DatabaseError::away() };
    let others = std::iter::repeat_with(|| Err(other().into()));
    std::iter::once(Err(error)).chain(others).take(count).collect()
}

const fn is_end_of_connection(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(DatabaseError::Unavailable { .. } | DatabaseError::OutcomeUnknown { .. }))
}
