//! The first sales of an empty primary, and the proof that both sides are equal.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use sqlx::{Connection, PgConnection};

use crate::places::{RunDirectory, remove_if_there, write_atomically};
use crate::running::{Interrupt, Interrupted, RunState};
use crate::terminal::{counted, done, failure, grouped, note, progress, success};
use crate::{seed, verify};

/// How long both sides may take to be found equal: the replica applies ten thousand sales within a second.
const VERIFY_LIMIT: Duration = Duration::from_secs(60);

/// How many sales a primary gets at first: enough for figures that look like a shop's, made within half a minute.
const DEFAULT_SALES: u64 = 10_000;

/// Fills a primary that holds no sale, or whose filling was interrupted, and compares each replica with it; whether
/// they are equal.
pub(super) async fn fill_and_verify(
    asked: Option<u64>,
    directory: &RunDirectory,
    state: &RunState,
    interrupt: &Interrupt,
) -> anyhow::Result<bool> {
    fill(asked, directory, state, interrupt).await?;
    let replicas = state.replicas();
    let mut equal = true;
    for replica in &replicas {
        let since = Instant::now();
        let checked = verify::check(&state.primary.admin_url, &replica.server.admin_url, replica.number, VERIFY_LIMIT);
        let report = interrupt.or(checked).await?.context("both sides could not be compared")?;
        let name = replica.number.cluster();
        if report.equal {
            let sides = if replicas.len() == 1 { "both sides".to_owned() } else { format!("primary and {name}") };
            let (rows, tables) = (counted(report.rows(), "row"), counted(report.tables.len() as u64, "table"));
            done(&format!("{sides} equal: {rows} in {tables}"), since);
        } else {
            equal = false;
            progress(&report);
            failure(&anyhow!("the {name} differs from the primary"));
        }
    }
    if !equal {
        note(&format!("the pair runs on: {}", verify::AFTER_A_DIFFERENCE));
    }
    Ok(equal)
}

async fn fill(
    asked: Option<u64>,
    directory: &RunDirectory,
    state: &RunState,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let sales = asked.unwrap_or(DEFAULT_SALES);
    let marker = directory.filling_file();
    let there = count_sales(state, sales).await?;
    if there > 0 && !marker.exists() {
        if let Some(sales) = asked {
            note(&no_sales_were_made(sales));
        }
        return Ok(());
    }
    let missing = sales.saturating_sub(there);
    if missing > 0 {
        if there > 0 {
            let (there, missing) = (counted(there, "sale"), grouped(missing));
            note(&format!("an earlier filling was interrupted after {there}: {missing} are still to come"));
        }
        write_atomically(&marker, b"", 0o600)?;
        let plan = seed::Plan {
            rng_seed: seed::rng_seed_after(there),
            currency: state.currency.clone(),
            ..seed::Plan::new(missing)
        };
        let outcome = seed::fill(&state.command_address, &plan, interrupt.asked()).await?;
        if outcome.stopped {
            return Err(Interrupted.into());
        }
        success(&outcome.to_string());
    }
    Ok(remove_if_there(&marker)?)
}

/// Why `--sales` did nothing, and what does.
pub(super) fn no_sales_were_made(asked: u64) -> String {
    format!(
        "--sales did nothing: it fills an empty primary when the pair starts; \
         `cargo xtask seed --sales {asked}` adds sales now"
    )
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
