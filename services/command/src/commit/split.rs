//! What becomes of a batch that the database refuses. Where it says which command is the culprit, that one is taken out;
//! where it does not, the batch is halved until the culprit stands alone. The others are committed without it.

use std::time::Duration;

use tandem_chassis::database::DatabaseError;
use tokio::time::timeout;

use crate::{
    domain::Command,
    store::{self, BatchError, LaneConnection, Receipt, StoreError},
};

/// A server that has not answered for so long, though it ends its statements earlier by itself, is frozen or cut off.
const SILENCE: Duration = Duration::from_secs(15);

type Answer = Result<Receipt, StoreError>;

/// Commits the commands, and says whether the connection can be used again.
pub async fn write(connection: &mut LaneConnection, commands: &[Command], patience: Duration) -> (Vec<Answer>, bool) {
    let mut answers: Vec<Option<Answer>> = commands.iter().map(|_| None).collect();
    // Parts still to be written, the next one last: the places of their commands.
    let mut parts = vec![(0..commands.len()).collect::<Vec<_>>()];
    let mut is_sound = true;
    while is_sound && let Some(mut part) = parts.pop() {
        match write_part(connection, commands, &part, patience).await {
            Ok(receipts) => part.into_iter().zip(receipts).for_each(|(place, answer)| answers[place] = Some(answer)),
            Err(BatchError { error, .. }) if is_end_of_connection(&error) => {
                // Of this part it is known, or not, as the error says; what comes behind is not begun.
                let same = same_for_all(part.len(), error);
                part.into_iter().zip(same).for_each(|(place, answer)| answers[place] = Some(answer));
                is_sound = false;
            }
            Err(BatchError { error, culprit }) => match culprit.or_else(|| (part.len() == 1).then_some(0)) {
                Some(culprit) => {
                    let place = part.remove(culprit);
                    let named = timeout(SILENCE, store::name_culprit(connection, &commands[place], error)).await;
                    let named = named.unwrap_or_else(|_| DatabaseError::away().into());
                    is_sound = !is_end_of_connection(&named);
                    answers[place] = Some(Err(named));
                    parts.extend(Some(part).filter(|rest| !rest.is_empty()));
                }
                None => {
                    tracing::debug!(commands = part.len(), %error, "a batch is halved");
                    let behind = part.split_off(part.len() / 2);
                    parts.extend([behind, part]);
                }
            },
        }
    }
    let answers = answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(DatabaseError::away().into())));
    (answers.collect(), is_sound)
}

async fn write_part(
    connection: &mut LaneConnection,
    commands: &[Command],
    part: &[usize],
    patience: Duration,
) -> Result<Vec<Answer>, BatchError> {
    let part: Vec<_> = part.iter().map(|place| &commands[*place]).collect();
    let written = timeout(SILENCE, store::write(connection, &part, patience)).await;
    written.unwrap_or_else(|_| Err(DatabaseError::OutcomeUnknown { source: None }.into()))
}

/// The same failure for each of several commands.
pub fn all_fail(count: usize, error: DatabaseError) -> Vec<Answer> {
    same_for_all(count, error.into())
}

/// The first gets the error with its cause, so that the cause is logged once.
fn same_for_all(count: usize, error: StoreError) -> Vec<Answer> {
    let is_unknown = matches!(error, StoreError::Database(DatabaseError::OutcomeUnknown { .. }));
    let other = || if is_unknown { DatabaseError::OutcomeUnknown { source: None } } else { DatabaseError::away() };
    let others = std::iter::repeat_with(|| Err(other().into()));
    std::iter::once(Err(error)).chain(others).take(count).collect()
}

const fn is_end_of_connection(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(DatabaseError::Unavailable { .. } | DatabaseError::OutcomeUnknown { .. }))
}
