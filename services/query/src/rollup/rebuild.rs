//! Builds the rollups anew beside the ones that queries read, and swaps.

use tandem_chassis::database::{Database, DatabaseError};

use super::STEP_SALES;
use crate::store::fold::{Folding, Step};

/// Why rollups could not be rebuilt. Queries read the old ones.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The replica failed.
    #[error("the rollups can't be rebuilt; queries still read the old ones")]
    Database(#[from] DatabaseError),
}

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// Sales that the new rollups hold.
    pub sales: usize,
    /// Rollups of the old ones that were removed since the swap; `None` before it.
    pub removed: Option<u64>,
}

/// Builds a generation of rollups from all sales, lets queries read it, and removes the others. Says after each step how
/// far it is.
///
/// Queries are exact all the while. Killed before the swap, nothing has changed: the service that folds removes what was
/// built.
pub async fn rebuild(database: &Database, mut progress: impl FnMut(Progress)) -> Result<Progress, RebuildError> {
    let mut folding = Folding::connect(database).await?;
    if !folding.is_of_this_cluster().await? {
        folding.begin_in_this_cluster().await?;
    }
    let generation = folding.add_generation().await?;
    let mut done = Progress { sales: 0, removed: None };
    // The last sweep may have taken long. The swap comes once what has changed since fits into one step.
    while let Step::Folded { sales, more } = folding.step(generation, STEP_SALES).await? {
        done.sales += sales;
        progress(done);
        if !more && i64::try_from(sales).is_ok_and(|sales| sales < STEP_SALES) {
            break;
        }
    }
    folding.complete_generation(generation).await?;
    loop {
        let removed = folding.remove_leftovers().await?;
        done.removed = Some(done.removed.unwrap_or_default() + removed);
        progress(done);
        if removed == 0 {
            return Ok(done);
        }
    }
}
