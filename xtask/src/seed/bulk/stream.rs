//! The subscription between both databases: that it is the only one, that it runs, and how far it is.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sqlx::PgConnection;
use tandem_replication::{Lsn, SUBSCRIPTION, SubscribedTable, Subscription, TableState, Watermark};
use tokio::time::{Instant, sleep};

use super::super::copy::connect;

/// The writer of our watermark. It goes when we are done; one that was left behind is written over.
const WRITER: &str = "xtask seed";

/// How long a watermark may take through an idle subscription, which also has to wake up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between looks at the replica: about what one costs.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// WAL that a sale with its items and keys takes, twice what sample sales do. All of a load is kept for the slot until it has ended.
const WAL_BYTES_A_SALE: u64 = 800;

/// A connection to each side, apart from the load's.
pub struct Stream {
    primary: PgConnection,
    replica: PgConnection,
}

impl Stream {
    /// Connects as administrator.
    pub async fn connect(primary_url: &str, replica_url: &str) -> anyhow::Result<Stream> {
        Ok(Stream {
            primary: connect(primary_url).await.context("the primary can't be reached")?,
            replica: connect(replica_url).await.context("the replica can't be reached")?,
        })
    }

    /// Proves that the subscription runs, that it comes from this primary, and that the replica has everything that was
    /// committed before this call: a watermark written here is seen there.
    pub async fn carries(&mut self, patience: Duration) -> anyhow::Result<()> {
        let written = Watermark::write(&mut self.primary, WRITER).await.context("no watermark can be written")?;
        let deadline = Instant::now() + PATIENCE + patience;
        loop {
            let seen: Option<Lsn> =
                sqlx::query_scalar("select lsn from tandem.watermark where writer = $1 and system_identifier = $2")
                    .bind(WRITER)
                    .bind(written.identity.system_identifier)
                    .fetch_optional(&mut self.replica)
                    .await
                    .context("the replica's watermarks can't be read")?;
            if seen == Some(written.lsn) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "what the primary writes does not arrive at the replica: `cargo xtask status` tells more"
            );
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Refuses a subscription that is not at rest.
    pub async fn check_subscription(&mut self) -> anyhow::Result<()> {
        let found = Subscription::find(&mut self.replica, SUBSCRIPTION).await?;
        let found = found.with_context(|| format!("the replica has no subscription {SUBSCRIPTION}"))?;
        ensure!(found.enabled, "the subscription {SUBSCRIPTION} is disabled: enable it first");
        let unready = |table: &&SubscribedTable| table.state != TableState::Ready;
        if let Some(table) = found.tables.iter().find(unready) {
            bail!("{} is still being copied to the replica: try again when it is there", table.name);
        }
        Ok(())
    }

    /// Refuses where others than this replica read the primary's changes: they would miss the sales. To be asked inside
    /// of the load's transaction once it has written: a slot that is made later waits for its end, and has it.
    pub async fn check_readers(&mut self, inside: &mut PgConnection) -> anyhow::Result<()> {
        let ours: Option<String> =
            sqlx::query_scalar("select subslotname::text from pg_subscription where subname = $1::text")
                .bind(SUBSCRIPTION)
                .fetch_one(&mut self.replica)
                .await?;
        let slots: Vec<String> = sqlx::query_scalar(
            "select slot_name::text from pg_replication_slots
            where slot_type = 'logical' and database = current_database() order by slot_name",
        )
        .fetch_all(&mut *inside)
        .await?;
        if let Some(other) = slots.iter().find(|slot| Some(*slot) != ours.as_ref()) {
            bail!(
                "the replication slot {other} is another reader's (a second replica, say), who would miss these sales: \
                 use --via copy"
            );
        }
        let wide: Option<String> = sqlx::query_scalar(
            "select pubname::text from pg_publication where puballtables
            union all
            select publication.pubname::text from pg_publication_namespace as member
            join pg_publication as publication on publication.oid = member.pnpubid limit 1",
        )
        .fetch_optional(inside)
        .await?;
        match wide {
            Some(publication) => {
                bail!("the publication {publication} names no tables, so none can leave it: use --via copy")
            }
            None => Ok(()),
        }
    }

    /// Refuses more sales than the slot could be kept for.
    pub async fn check_room(&mut self, sales: u64) -> anyhow::Result<()> {
        let megabytes: i64 =
            sqlx::query_scalar("select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size'")
                .fetch_one(&mut self.primary)
                .await?;
        let most = most_sales(megabytes);
        ensure!(
            most.is_none_or(|most| sales <= most),
            "this primary keeps {megabytes} MB of WAL for its replica (max_slot_wal_keep_size), which is enough for \
             {} sales at once: make fewer, or use --via copy",
            most.unwrap_or_default()
        );
        Ok(())
    }

    /// Takes our watermark away.
    pub async fn close(mut self) -> anyhow::Result<()> {
        sqlx::query("delete from tandem.watermark where writer = $1")
            .bind(WRITER)
            .execute(&mut self.primary)
            .await
            .context("our watermark can't be taken away")?;
        Ok(())
    }
}

/// `None`: any number.
fn most_sales(megabytes: i64) -> Option<u64> {
    u64::try_from(megabytes).ok().map(|megabytes| (megabytes << 20) / WAL_BYTES_A_SALE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_sales_fit_into_what_a_pair_keeps_and_no_limit_takes_any_number() {
        assert!(most_sales(2_048).unwrap() > 1_000_000);
        assert!(most_sales(64).unwrap() < 100_000);
        assert_eq!(most_sales(-1), None);
    }
}
