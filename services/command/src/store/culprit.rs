//! Which sale of a batch the database refuses.

use sqlx::{Connection as _, PgConnection};
use tandem_chassis::database::DatabaseError;

use super::{batch, error::StoreError};
use crate::domain::{Change, NewSale};

/// The refusal of a whole batch as that of the first sale that fails by itself or with those before it. Leaves no trace.
///
/// Each try stores the sales up to one of them: a batch of 500 is told apart in nine tries.
pub async fn name(connection: &mut PgConnection, new: &[NewSale], refusal: StoreError) -> StoreError {
    if !is_refusal(&refusal) {
        return refusal;
    }
    match first_refused(connection, new, refusal).await {
        Ok((index, error)) => StoreError::InBatch { index, error: Box::new(error) },
        Err(error) => error.into(),
    }
}

/// Of one value or row, and not of the state that the database is in.
const fn is_refusal(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused(_) | StoreError::Database(DatabaseError::Storage { .. }))
}

async fn first_refused(
    connection: &mut PgConnection,
    new: &[NewSale],
    refusal: StoreError,
) -> Result<(usize, StoreError), sqlx::Error> {
    // The first `good` sales pass, the first `bad` don't.
    let (mut good, mut bad, mut error) = (0, new.len(), refusal);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        match refused(connection, &new[..middle]).await? {
            Some(found) => (bad, error) = (middle, found),
            None => good = middle,
        }
    }
    Ok((good, error))
}

async fn refused(connection: &mut PgConnection, new: &[NewSale]) -> Result<Option<StoreError>, sqlx::Error> {
    let mut attempt = connection.begin().await?;
    let done = batch::apply(&mut attempt, &[&Change::CreateAll(new.to_vec())]).await;
    attempt.rollback().await?;
    Ok(done.err())
}
