//! Which sales a batch has written.

use sqlx::Row;
use std::time::Duration;

use crate::connect::Database;
use crate::error::CheckError;
use crate::phase::{Observe, Phase};

/// The sales of a batch, once it is complete: as long as it goes on, it is asked again every `interval`.
pub(crate) async fn sales(
    primary: &mut Database,
    batch_id: &str,
    interval: Duration,
    observe: Observe<'_>,
) -> Result<Vec<String>, CheckError> {
    complete(primary, batch_id, interval, observe).await?;
    let sales = "
        select distinct sale.transaction_id::text as transaction_id
        from tandem.batch_part as part
        cross join unnest(part.transaction_ids) as sale (transaction_id)
        where part.batch_id = $1
        order by 1";
    let query = sqlx::query(sales).bind(batch_id);
    primary.ask("reading the sales of the batch", query, |row| row.try_get("transaction_id")).await
}

async fn complete(
    primary: &mut Database,
    batch_id: &str,
    interval: Duration,
    observe: Observe<'_>,
) -> Result<(), CheckError> {
    loop {
        let query = sqlx::query("select status, error from tandem.batch_control where batch_id = $1").bind(batch_id);
        let tables: Vec<(String, Option<String>)> = primary
            .ask("reading the state of the batch", query, |row| Ok((row.try_get("status")?, row.try_get("error")?)))
            .await?;
        if tables.is_empty() {
            return Err(CheckError::UnknownBatch { batch_id: batch_id.to_owned() });
        }
        if let Some((_, why)) = tables.iter().find(|(status, _)| status == "FAILED") {
            let why = why.clone().unwrap_or_default();
            return Err(CheckError::BatchFailed { batch_id: batch_id.to_owned(), why });
        }
        if tables.iter().all(|(status, _)| status == "COMPLETED") {
            return Ok(());
        }
        observe(&Phase::WaitingForBatch(batch_id.to_owned()));
        primary.deadline.pause(interval, "waiting for the batch to be completed").await?;
    }
}
