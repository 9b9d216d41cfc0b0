//! Whether the replica's rollups hold what its sales add up to.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use serde::Serialize;
use sqlx::{Connection as _, Row as _};

use crate::connect::Database;
use crate::error::CheckError;

/// Days that are compared at once. Each time all items are read, so that fewer days take longer; more days make the database
/// sort and hash on disk.
const DAYS: u64 = 92;
/// Differences that are named; all are counted.
const EXAMPLES: usize = 20;

/// What the comparison of rollups with sales found, both as one snapshot of the replica shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RollupReport {
    /// How many rollups were compared.
    pub compared: i64,
    /// How many of them differ, are missing, or should not be there.
    pub different: i64,
    /// The first of those, each as a line of text; figures are revenue, transactions, repeats, items sold, discount.
    pub examples: Vec<String>,
}

/// Compares all rollups; `None` where the replica has none.
pub(crate) async fn compare(
    replica: &mut Database,
    mut observe: impl FnMut(NaiveDate),
) -> Result<Option<RollupReport>, CheckError> {
    let failed = replica.failed("comparing rollups with sales");
    let deadline = replica.deadline.clone();
    let comparing = async {
        let mut report = RollupReport { compared: 0, different: 0, examples: Vec::new() };
        let compared = in_one_snapshot(replica, &mut report, &mut observe).await.map_err(failed)?;
        Ok(compared.then_some(report))
    };
    deadline.bound(|| "comparing rollups with sales".to_owned(), comparing).await
}

async fn in_one_snapshot(
    replica: &mut Database,
    report: &mut RollupReport,
    observe: &mut impl FnMut(NaiveDate),
) -> Result<bool, sqlx::Error> {
    let begin = "begin isolation level repeatable read, read only; set local work_mem = '64MB'; set local jit = off";
    let mut snapshot = replica.connection.begin_with(begin).await?;
    let present: bool =
        sqlx::query_scalar("select to_regclass('tandem.rollup') is not null").fetch_one(&mut *snapshot).await?;
    if !present {
        return Ok(false);
    }
    let (first, last): (Option<DateTime<Utc>>, Option<DateTime<Utc>>) = sqlx::query_as(
        "
        select least(min(first), (select min(bucket) from tandem.rollup)), greatest(max(last), (select max(bucket) from tandem.rollup))
        from (select min(transaction_time), max(transaction_time) from sales.sales_transaction) as sale (first, last)
        ",
    )
    .fetch_one(&mut *snapshot)
    .await?;
    let (Some(first), Some(last)) = (first, last) else { return Ok(true) };
    let mut start = first.date_naive();
    while start <= last.date_naive() {
        let end = start + Days::new(DAYS);
        let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        observe(start);
        let row = sqlx::query(include_str!("rollups.sql"))
            .bind(midnight(start))
            .bind(midnight(end))
            .fetch_one(&mut *snapshot)
            .await?;
        report.compared += row.try_get::<i64, _>("compared")?;
        report.different += row.try_get::<i64, _>("different")?;
        let examples: Option<Vec<String>> = row.try_get("examples")?;
        let room = EXAMPLES.saturating_sub(report.examples.len());
        report.examples.extend(examples.unwrap_or_default().into_iter().take(room));
        start = end;
    }
    Ok(true)
}
