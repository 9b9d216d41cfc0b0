//! Answers first: what was acknowledged is there once, and nothing else is.

use anyhow::Context;
use sqlx::PgConnection;
use tandem_convergence::Options;
use thiserror::Error;

use super::bed::Bed;
use super::load::{LINES, STORE_THAT_IS_REFUSED, Tally};
use crate::postgres::Login;

/// Why the figures of a run say nothing.
#[derive(Debug, Error)]
#[error("the run is void: {0}")]
pub struct Void(pub String);

/// What both sides say they have written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    /// Sales.
    sales: u64,
    /// Their items.
    items: u64,
    /// Those that have a request id.
    with_request_id: u64,
}

/// What the primary holds.
#[derive(Debug, Clone, Default, PartialEq, sqlx::FromRow)]
struct Counted {
    sales: i64,
    items: i64,
    request_ids: i64,
    refused: i64,
    totals_agree: bool,
    unproved: bool,
}

impl Ledger {
    /// Enters a load; one with faults voids the run.
    pub fn enter(&mut self, name: &str, tally: &Tally, with_request_id: bool) -> Result<(), Void> {
        if !tally.faults.is_empty() {
            let faults: Vec<String> = tally.faults.iter().map(|(what, times)| format!("{times} × {what}")).collect();
            return Err(Void(format!("{name}: {}", faults.join("; "))));
        }
        self.sales += tally.acknowledged;
        self.items += tally.items.unwrap_or(tally.acknowledged * LINES.len() as u64);
        if with_request_id {
            self.with_request_id += tally.acknowledged;
        }
        Ok(())
    }

    /// Compares with the primary.
    ///
    /// # Errors
    ///
    /// [`Void`] where they differ; others where the database does not answer.
    pub async fn check(&self, primary: &mut PgConnection) -> anyhow::Result<()> {
        let counted: Counted = sqlx::query_as(
            "select
                (select count(*) from sales.sales_transaction) as sales,
                (select count(*) from sales.sales_item) as items,
                (select count(*) from tandem.request_id) as request_ids,
                (select count(*) from sales.sales_transaction where store_id = $1) as refused,
                (select coalesce(sum(total_amount), 0) from sales.sales_transaction)
                    = (select coalesce(sum(total_price), 0) from sales.sales_item) as totals_agree,
                exists (select from pg_catalog.pg_constraint where not convalidated)
                    or exists (select from pg_catalog.pg_index where not indisvalid) as unproved",
        )
        .bind(STORE_THAT_IS_REFUSED)
        .fetch_one(primary)
        .await
        .context("the primary's rows can't be counted")?;
        Ok(self.compare(&counted)?)
    }

    fn compare(&self, counted: &Counted) -> Result<(), Void> {
        let number = |count: i64| u64::try_from(count).unwrap_or_default();
        let pairs = [
            ("sales", self.sales, counted.sales),
            ("items", self.items, counted.items),
            ("request ids", self.with_request_id, counted.request_ids),
            ("refused sales", 0, counted.refused),
        ];
        for (what, acknowledged, found) in pairs {
            if acknowledged != number(found) {
                return Err(Void(format!("the primary holds {found} {what} where {acknowledged} were acknowledged")));
            }
        }
        if !counted.totals_agree {
            return Err(Void("the headers' totals do not add up to the items'".to_owned()));
        }
        if counted.unproved {
            return Err(Void("a constraint or an index is not valid".to_owned()));
        }
        Ok(())
    }
}

/// Proves at the end that each header agrees with its items, and the replica with the primary.
///
/// # Errors
///
/// [`Void`] where they do not; others where it can't be proved.
pub async fn check_whole(bed: &mut Bed) -> anyhow::Result<()> {
    let wrong: i64 = sqlx::query_scalar(
        "select count(*)
        from sales.sales_transaction as header
        left join (
            select transaction_id, sum(total_price) as total
            from sales.sales_item
            group by transaction_id
        ) as items on items.transaction_id = header.transaction_id
        where header.total_amount is distinct from items.total",
    )
    .fetch_one(&mut bed.primary)
    .await
    .context("headers can't be compared with their items")?;
    if wrong > 0 {
        return Err(Void(format!("{wrong} headers disagree with their items")).into());
    }
    let (primary, replica) = (bed.pair.url(Login::PrimaryAdmin), bed.pair.url(Login::ReplicaAdmin));
    let report =
        tandem_convergence::check(&primary, &replica, &Options { rollups: false, ..Options::default() }).await?;
    if !report.equal {
        return Err(Void(format!("the databases differ:\n{report}")).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.enter("ours", &Tally { acknowledged: 10, ..Tally::default() }, true).unwrap();
        ledger.enter("pgbench", &Tally { acknowledged: 5, ..Tally::default() }, false).unwrap();
        ledger
    }

    fn right() -> Counted {
        Counted { sales: 15, items: 45, request_ids: 10, refused: 0, totals_agree: true, unproved: false }
    }

    #[test]
    fn counts_that_agree_pass() {
        ledger().compare(&right()).unwrap();
    }

    #[test]
    fn any_wrong_count_voids_the_run() {
        let wrong = [
            Counted { sales: 14, ..right() },
            Counted { sales: 16, ..right() },
            Counted { items: 44, ..right() },
            Counted { request_ids: 9, ..right() },
            Counted { refused: 1, ..right() },
            Counted { totals_agree: false, ..right() },
            Counted { unproved: true, ..right() },
        ];
        for counted in wrong {
            assert!(ledger().compare(&counted).is_err(), "{counted:?}");
        }
    }

    #[test]
    fn a_fault_voids_the_run_and_is_told() {
        let mut tally = Tally::default();
        tally.fault("Internal: no".to_owned());
        let error = Ledger::default().enter("ours", &tally, true).unwrap_err().to_string();
        assert!(error.contains("ours: 1 × Internal: no"), "{error}");
    }
}
