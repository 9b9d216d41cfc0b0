//! One step of taking sales into the rollups.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::Horizon;

/// A step that takes longer is given up: sales of a step are counted, and so take a second or two.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(120);
/// Sorts and hashes of a step stay in memory with this.
const WORK_MEM_MEGABYTES: u32 = 64;

/// What a step did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The rollups hold what sales look like.
    Nothing,
    /// Some sales were taken in.
    Folded {
        /// How many.
        sales: usize,
        /// Whether more are left of this sweep.
        more: bool,
    },
}

/// Takes up to `most` sales into a generation of the rollups, in one transaction. Killed at any moment, it has happened
/// or it has not.
///
/// Only who holds the generation's lock does this; two at once would not harm the figures: one fails.
pub async fn step(connection: &mut PgConnection, generation: i32, most: i64) -> Result<Step, sqlx::Error> {
    // The tables are locked before the snapshot is taken: a TRUNCATE, which no snapshot knows of, comes before or after.
    let begin = format!(
        "begin isolation level repeatable read; set local statement_timeout = {}; set local work_mem = '{}MB'; \
         lock table sales.sales_transaction, sales.sales_item in access share mode",
        STEP_TIMEOUT.as_millis(),
        WORK_MEM_MEGABYTES,
    );
    let mut transaction = connection.begin_with(sqlx::AssertSqlSafe(begin)).await?;
    let (horizon, until_xid) = state(&mut transaction, generation).await?;
    let sweep = match horizon.sweep_id {
        Some(after) => Sweep::next(&mut transaction, &horizon, horizon.sweep_xid, after, most).await?,
        None => match horizon.changed(&mut transaction, most).await? {
            Some(changed) if changed.is_empty() => return Ok(Step::Nothing),
            Some(changed) => Sweep { sales: changed, until_xid, more: false },
            None => Sweep::next(&mut transaction, &horizon, until_xid, Uuid::nil(), most).await?,
        },
    };
    fold(&mut transaction, &horizon, &sweep).await?;
    transaction.commit().await?;
    Ok(Step::Folded { sales: sweep.sales.len(), more: sweep.more })
}

/// The sales of one step.
struct Sweep {
    sales: Vec<Uuid>,
    until_xid: i64,
    more: bool,
}

impl Sweep {
    async fn next(
        connection: &mut PgConnection,
        horizon: &Horizon,
        until_xid: i64,
        after: Uuid,
        most: i64,
    ) -> Result<Self, sqlx::Error> {
        let sales = sqlx::query_scalar!(
            r#"select tandem.next_changed_sales($1, $2, $3, $4) as "next!""#,
            horizon.folded_xid,
            until_xid,
            after,
            most,
        )
        .fetch_one(connection)
        .await?;
        let more = i64::try_from(sales.len()).is_ok_and(|found| found >= most);
        Ok(Self { sales, until_xid, more })
    }
}

/// Where the generation stands, and how far it may go: no transaction before that id still runs.
async fn state(connection: &mut PgConnection, generation: i32) -> Result<(Horizon, i64), sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select
            generation, folded_xid, sweep_xid, sweep_id,
            txid_snapshot_xmin(txid_current_snapshot()) as "until_xid!"
        from tandem.fold
        where generation = $1
        for update
        "#,
        generation,
    )
    .fetch_one(connection)
    .await?;
    let horizon = Horizon {
        generation: row.generation,
        folded_xid: row.folded_xid,
        sweep_xid: row.sweep_xid,
        sweep_id: row.sweep_id,
    };
    Ok((horizon, row.until_xid))
}

async fn fold(connection: &mut PgConnection, horizon: &Horizon, sweep: &Sweep) -> Result<(), sqlx::Error> {
    sqlx::query_file!(
        "src/store/fold/sales.sql",
        horizon.generation,
        &sweep.sales,
        horizon.folded_xid,
        sweep.until_xid,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query_file!("src/store/fold/products.sql", &sweep.sales).execute(&mut *connection).await?;
    let sweep_id = sweep.sales.last().copied().filter(|_| sweep.more);
    let folded_xid = if sweep.more { horizon.folded_xid } else { sweep.until_xid };
    sqlx::query!(
        "
        update tandem.fold
        set folded_xid = $2, sweep_xid = $3, sweep_id = $4, folded_at = clock_timestamp()
        where generation = $1
        ",
        horizon.generation,
        folded_xid,
        sweep.until_xid,
        sweep_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes past rows that no generation needs and that ended before a time, some thousands at most; says how many.
pub async fn purge_past(connection: &mut PgConnection, ended_before: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let removed = sqlx::query_file!("src/store/fold/purge_past.sql", ended_before).fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(u64::try_from(removed.removed).unwrap_or_default())
}

/// Makes block ranges that have been filled since findable by what is in them.
pub async fn summarize_block_ranges(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("select tandem.summarize_block_ranges()").execute(connection).await?;
    Ok(())
}
