//! Fills a new column in rows that are there already, a few at a time.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tandem_convergence::Side;
use tokio::time::{Instant, sleep};

use super::file::Change;
use crate::error::{UpkeepError, on};
use crate::sides::Step;
use crate::table::{Table, listed, quoted};

/// Rows of one transaction: some milliseconds, for which a caller who wants one of them waits.
const BATCH: i64 = 1_000;
/// Before rows are tried again that somebody had locked.
const BETWEEN_PASSES: Duration = Duration::from_millis(50);

/// Fills what is null. Rows that somebody has locked are passed over, and tried again at the end: so nobody waits for us who
/// has what we want, and there is no deadlock. Between batches it rests for as long as the last one took: half of the time
/// is the callers'.
pub(super) async fn back_fill(
    primary: &mut PgConnection,
    change: &Change,
    observe: &(impl Fn(&Step) + Sync),
) -> Result<u64, UpkeepError> {
    let failed = on(Side::Primary, "filling a column");
    let unfit = |why: &str| UpkeepError::Unfit { table: change.table.clone(), why: why.to_owned() };
    let table = Table::find(primary, change.schema(), change.name()).await.map_err(failed)?;
    let table = table.filter(|table| !table.primary_key.is_empty());
    let table = table.ok_or_else(|| unfit("it has no primary key to fill it by"))?;
    let mut filled = 0;
    loop {
        let mut after: Option<Vec<String>> = None;
        loop {
            let began = Instant::now();
            let batch = batch(primary, change, &table, after.as_deref()).await.map_err(failed)?;
            if batch.left_null > 0 {
                return Err(unfit("the backfill is null for some rows: give them a value, with coalesce perhaps"));
            }
            filled += u64::try_from(batch.rows).unwrap_or_default();
            observe(&Step::Filling(change.table.clone(), filled));
            let Some(last) = batch.last else { break };
            after = Some(last);
            sleep(began.elapsed()).await;
        }
        let left =
            format!("select exists (select from {} where {} is null)", change.relation(), quoted(&change.column));
        if !sqlx::query_scalar::<_, bool>(AssertSqlSafe(left)).fetch_one(&mut *primary).await.map_err(failed)? {
            return Ok(filled);
        }
        sleep(BETWEEN_PASSES).await;
    }
}

struct Batch {
    rows: i64,
    left_null: i64,
    /// The last primary key that was looked at; `None`: there are no more.
    last: Option<Vec<String>>,
}

async fn batch(
    primary: &mut PgConnection,
    change: &Change,
    table: &Table,
    after: Option<&[String]>,
) -> Result<Batch, sqlx::Error> {
    let (relation, column, key) = (change.relation(), quoted(&change.column), &table.primary_key);
    let behind = after.map(|after| {
        let values = key
            .iter()
            .zip(1..=after.len())
            .map(|(name, number)| format!("${number}::text::{}", table.type_of(name).unwrap_or("text")));
        format!("and ({}) > ({})", listed("", key), values.collect::<Vec<_>>().join(", "))
    });
    // Names of their own, so that the backfill means the row's columns.
    let due: Vec<_> = (0..key.len()).map(|place| format!("due_{place}")).collect();
    let same: Vec<_> = key.iter().zip(&due).map(|(name, due)| format!("filled.{} = due.{due}", quoted(name))).collect();
    let texts: Vec<_> = due.iter().map(|due| format!("{due}::text")).collect();
    let statement = format!(
        "with due ({due}) as (
            select {keys} from {relation} where {column} is null {behind}
            order by {keys} limit {BATCH} for update skip locked
        ), changed as (
            update {relation} as filled set {column} = ({value})::{data_type} from due where {same}
            returning filled.{column} is null as is_null
        )
        select (select count(*) from changed) as rows, (select count(*) from changed where is_null) as left_null,
            (select array[{texts}] from due order by {backwards} desc limit 1) as last",
        keys = listed("", key),
        behind = behind.unwrap_or_default(),
        value = change.backfill.as_deref().unwrap_or("null"),
        data_type = change.data_type,
        same = same.join(" and "),
        texts = texts.join(", "),
        backwards = due.join(" desc, "),
        due = due.join(", "),
    );
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for value in after.unwrap_or_default() {
        query = query.bind(value.clone());
    }
    let row = query.fetch_one(primary).await?;
    Ok(Batch { rows: row.try_get("rows")?, left_null: row.try_get("left_null")?, last: row.try_get("last")? })
}
