//! The first sales of an empty primary, and the proof that both sides are equal.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sqlx::{Connection, PgConnection};

use crate::places::{RunDirectory, remove_if_there, write_atomically};
use crate::running::{Interrupt, Interrupted, RunState};
use crate::terminal::{done, note};
use crate::{seed, verify};

/// How long both sides may take to be found equal: the replica applies ten thousand sales within a second.
const VERIFY_LIMIT: Duration = Duration::from_secs(60);

/// Fills a primary that holds no sale, or whose filling was interrupted, and compares both sides.
pub(super) async fn fill_and_verify(
    sales: u64,
    directory: &RunDirectory,
    state: &RunState,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let marker = directory.filling_file();
    let there = count_sales(state, sales).await?;
    let missing = if there == 0 || marker.exists() { sales.saturating_sub(there) } else { 0 };
    if missing > 0 {
        if there > 0 {
            note(&format!("an earlier filling was interrupted after {there} sales: {missing} are still to come"));
        }
        write_atomically(&marker, b"", 0o600)?;
        let outcome = seed::fill(&state.command_address, &seed::Plan::new(missing), interrupt.asked()).await?;
        if outcome.stopped {
            return Err(Interrupted.into());
        }
        note(&outcome.to_string());
    }
    remove_if_there(&marker)?;
    let since = Instant::now();
    let checked = verify::check(&state.primary.admin_url, &state.replica.admin_url, VERIFY_LIMIT);
    let report = interrupt.or(checked).await?.context("both sides could not be compared")?;
    if !report.equal {
        bail!("the replica differs from the primary:\n{report}");
    }
    done(&format!("both sides equal: {} rows in {} tables", report.rows(), report.tables.len()), since);
    Ok(())
}

/// The primary's sales, counted no further than `up_to`: a primary that has grown large must not delay `up`.
async fn count_sales(state: &RunState, up_to: u64) -> anyhow::Result<u64> {
    let mut primary = PgConnection::connect(&state.primary.admin_url).await?;
    let count: i64 = sqlx::query_scalar("select count(*) from (select from sales.sales_transaction limit $1) as found")
        .bind(i64::try_from(up_to)?)
        .fetch_one(&mut primary)
        .await
        .context("the primary's sales can't be counted")?;
    primary.close().await?;
    Ok(u64::try_from(count)?)
}
