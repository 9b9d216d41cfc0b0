//! Sales through the back door: COPY straight into the primary, for amounts that no till could send.

use std::future::Future;
use std::str::FromStr;

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::Plan;
use super::batch::Batch;
use super::progress::{Outcome, Progress};
use super::rows::{Segment, Segments, Storing, make_for};
use crate::terminal::counted;

/// Copies the sales of `plan` into the database at `primary_url`, one database transaction a batch, with every
/// constraint live; the subscription brings them to the replica like any other write.
///
/// Ids follow from the seed, so the same seed can't be copied twice. Where the sales are a `batch`, each transaction names
/// its own. When `stop` resolves, the batch under way
/// is still committed.
///
/// # Errors
///
/// The primary can't be reached or refuses a batch. The message says how many sales are in.
pub(super) async fn copy(
    primary_url: &str,
    plan: &Plan,
    mut batch: Option<&mut Batch>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Outcome> {
    let mut connection = connect(primary_url)
        .await
        .context("the primary can't be reached: start it with `cargo xtask up`, or name it with --primary-url")?;
    let mut progress = Progress::start(plan.sales);
    let [mut segments] = make_for(Segments::of(plan, plan.batch_size));
    let mut stop = std::pin::pin!(stop);
    while let Some(segment) = segments.recv().await {
        if futures::poll!(&mut stop).is_ready() {
            break;
        }
        if let Err(error) = copy_segment(&mut connection, &segment, batch.as_deref()).await {
            let sales = progress.sales();
            drop(progress);
            return Err(explained(error))
                .with_context(|| format!("seeding ended early after {}", counted(sales, "sale")));
        }
        if let Some(batch) = &mut batch {
            batch.wrote(segment.share);
        }
        progress.add(segment.share);
    }
    connection.close().await.context("the connection to the primary did not end cleanly")?;
    Ok(progress.finish())
}

/// As an administrator.
pub(super) async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?;
    let options = options.application_name("tandem-seed").disable_statement_logging();
    PgConnection::connect_with(&options).await
}

fn explained(error: sqlx::Error) -> anyhow::Error {
    let duplicate = error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation);
    let error = anyhow::Error::new(error);
    if duplicate {
        return error.context("the sales of this seed are there already: choose another with --rng-seed");
    }
    error.context("the primary refused a batch")
}

async fn copy_segment(
    connection: &mut PgConnection,
    segment: &Segment,
    batch: Option<&Batch>,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    segment.copy(&mut transaction, Storing::Plain).await?;
    if let Some(batch) = batch {
        batch.add_part(&mut transaction, &segment.ids).await?;
    }
    transaction.commit().await
}
