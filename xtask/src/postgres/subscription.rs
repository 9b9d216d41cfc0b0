//! Waits until the replica has copied every published table.

use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::PgConnection;
use tokio::time::Instant;

use super::cluster::Cluster;
use crate::log_excerpt::Logged;

/// How long the first copy may take before `up` gives up on it: the tables are empty or hold a laptop's data.
pub const READY_LIMIT: Duration = Duration::from_secs(120);

/// How often the tables' states are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until every table of every subscription is in state `r` (ready); how many there are. The error names
/// the tables that are not, and shows the end of the replica's log.
pub async fn wait_until_ready(replica: &Cluster, limit: Duration) -> anyhow::Result<usize> {
    let mut connection = replica.connect(super::cluster::DATABASE).await?;
    let log_begins = replica.log_size();
    let deadline = Instant::now() + limit;
    loop {
        let states = table_states(&mut connection).await?;
        if !states.is_empty() && states.iter().all(|(_, state)| state == "r") {
            return Ok(states.len());
        }
        if Instant::now() >= deadline {
            let waited = limit.as_secs();
            let reason = format!("after {waited} s the replica has not copied every table: {}", describe(&states));
            bail!(Logged::new(reason, &replica.log_file(), log_begins));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Each subscribed table (`schema.table`) with the letter of its state.
async fn table_states(connection: &mut PgConnection) -> anyhow::Result<Vec<(String, String)>> {
    let statement = "select n.nspname || '.' || c.relname, r.srsubstate::text \
         from pg_catalog.pg_subscription_rel r \
         join pg_catalog.pg_class c on c.oid = r.srrelid \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace order by 1";
    sqlx::query_as(statement).fetch_all(connection).await.context("the subscription's tables can't be read")
}

fn describe(states: &[(String, String)]) -> String {
    if states.is_empty() {
        return "there is no subscribed table at all".to_owned();
    }
    let name = |state: &str| match state {
        "i" => "not begun",
        "d" => "being copied",
        "f" => "copied",
        "s" => "catching up",
        "r" => "ready",
        _ => "in an unknown state",
    };
    states.iter().map(|(table, state)| format!("{table} is {}", name(state))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_fails_names_each_table_and_its_state() {
        let states = [("sales.sales_item".to_owned(), "d".to_owned()), ("tandem.watermark".to_owned(), "r".to_owned())];
        assert_eq!(describe(&states), "sales.sales_item is being copied, tandem.watermark is ready");
        assert!(describe(&[]).contains("no subscribed table"));
    }
}
