//! Takes sales into the rollups, step by step.

use std::{
    convert::Infallible,
    error::Error,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, gauge, histogram};
use tandem_chassis::{
    database::{Database, DatabaseError},
    shutdown::Shutdown,
};
use tokio::time::sleep;

use super::STEP_SALES;
use crate::store::fold::{Folding, Step};

/// Between steps while everything is folded: what has changed since costs each query some microseconds a sale.
const WHILE_FOLDED: Duration = Duration::from_millis(500);
/// Between looks whether the one who folds is gone.
const WHILE_LOCKED: Duration = Duration::from_secs(5);
/// After a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Between rounds of what need not be done at each step.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(10);

/// Why sales are not folded now.
#[derive(Debug, thiserror::Error)]
enum FoldError {
    /// The replica failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Rows are dated by ids of another cluster.
    #[error("this replica was restored into another cluster: run `tandem-query rebuild-rollups`")]
    OtherCluster,
}

/// Folds for as long as the service runs. Of several services on a replica one does.
pub struct Folder {
    database: Database,
    past_kept: TimeDelta,
}

impl Folder {
    /// Folds in `database`, and keeps past rows for `past_kept` after they ended.
    pub const fn new(database: Database, past_kept: TimeDelta) -> Self {
        Self { database, past_kept }
    }

    /// Folds until shutdown. A step that is interrupted by it has not happened.
    pub async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.triggered() => {}
            () = self.fold_again_and_again() => {}
        }
    }

    async fn fold_again_and_again(&self) {
        let mut failing = false;
        loop {
            let Err(error) = self.fold(&mut failing).await;
            // Said once for an outage: answers stay exact, and the observer's metrics say how far behind the rollups are.
            if !failing {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "the rollups can't be folded; figures are made without them"
                );
            }
            failing = true;
            sleep(AFTER_FAILURE).await;
        }
    }

    /// Over one connection, until it fails. A lock that another session holds is waited for.
    async fn fold(&self, failing: &mut bool) -> Result<Infallible, FoldError> {
        let mut folding = Folding::connect(&self.database).await?;
        let mut locked = None;
        let mut round = None::<Instant>;
        loop {
            let generation = folding.current_generation().await?;
            if locked != Some(generation) {
                if !folding.lock(generation).await? {
                    sleep(WHILE_LOCKED).await;
                    continue;
                }
                if !folding.is_of_this_cluster().await? {
                    return Err(FoldError::OtherCluster);
                }
                locked = Some(generation);
                tracing::info!(generation, "folding sales into the rollups");
            }
            let begun = Instant::now();
            let pause = measured(folding.step(generation, STEP_SALES).await?, begun);
            if std::mem::take(failing) {
                tracing::info!("the rollups are folded again");
            }
            if round.is_none_or(|round| round.elapsed() > BETWEEN_ROUNDS) {
                self.round(&mut folding).await?;
                round = Some(Instant::now());
            }
            sleep(pause).await;
        }
    }

    async fn round(&self, folding: &mut Folding) -> Result<(), DatabaseError> {
        folding.summarize_block_ranges().await?;
        let ended_before = Utc::now().checked_sub_signed(self.past_kept).unwrap_or(DateTime::UNIX_EPOCH);
        while folding.purge_past(ended_before).await? > 0 {}
        folding.remove_leftovers().await?;
        Ok(())
    }
}

/// How long to rest after a step: as long as it took, while there is more to do. Apply needs the processor too.
fn measured(step: Step, begun: Instant) -> Duration {
    let took = begun.elapsed();
    match step {
        Step::Nothing => {
            gauge!("tandem_rollup_sweep_running").set(0.0);
            WHILE_FOLDED
        }
        Step::Folded { sales, more } => {
            counter!("tandem_rollup_folded_sales_total").increment(sales as u64);
            histogram!("tandem_rollup_step_seconds").record(took.as_secs_f64());
            gauge!("tandem_rollup_sweep_running").set(if more { 1.0 } else { 0.0 });
            if more { took } else { took.max(WHILE_FOLDED) }
        }
    }
}
