//! The batch that a seed is, where it is given an id: registered on the primary, as an import is by the command service.
//!
//! Chunks are named in the database transaction that writes them where the seed writes itself (`--via copy`); behind a
//! command service, which knows nothing of the batch, once their answers are there. The position is read after the last
//! COMMIT. While a batch is written its connection holds a lock, so that a later seed tells one that is being written
//! from one whose writer was killed.

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection, Row};
use tandem_replication::{ConsistencyToken, Lsn, Position};
use uuid::Uuid;

use super::copy::connect;
use super::progress::Share;

/// Characters of an error that a batch keeps: it travels to every replica.
const MAX_ERROR: usize = 500;
/// Ids that are named at once: those of some calls, so that little is unnamed when this process is killed.
const IDS_A_PART: usize = 100;

/// Takes what the batches' own table would refuse.
pub(super) fn batch_id(text: &str) -> Result<String, String> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c));
    if begins && rest && text.len() <= 100 {
        return Ok(text.to_owned());
    }
    Err("at most 100 letters, digits and . _ : - that begin with a letter or digit".to_owned())
}

/// What a complete batch can be waited for by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchReceipt {
    /// Its id.
    pub batch_id: String,
    /// A position of the primary's WAL behind it, read after its last COMMIT.
    pub lsn: String,
    /// For reads that must see all of it.
    pub consistency_token: String,
    /// Whether it was complete before: nothing was written now.
    pub existed: bool,
    /// The feed files that were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// What the primary has under an id.
enum Found {
    Nothing,
    Completed(BatchReceipt),
    InProgress,
    Failed(String),
}

/// A connection to the primary's batches.
pub(super) struct Batches {
    primary: PgConnection,
    batch_id: String,
}

/// A batch that is being written.
pub(super) struct Batch {
    batches: Batches,
    /// Sales that are stored and not yet named.
    unnamed: Vec<Uuid>,
    /// All that is stored.
    written: Share,
}

impl Batches {
    pub(super) async fn connect(primary_url: &str, batch_id: &str) -> anyhow::Result<Self> {
        let primary = connect(primary_url).await;
        let primary = primary.context("the primary, where batches are registered, can't be reached")?;
        Ok(Self { primary, batch_id: batch_id.to_owned() })
    }

    /// The receipt, if the batch is complete.
    ///
    /// # Errors
    ///
    /// It is there and not complete.
    pub(super) async fn completed(&mut self) -> anyhow::Result<Option<BatchReceipt>> {
        let batch_id = self.batch_id.clone();
        match self.find().await? {
            Found::Nothing => Ok(None),
            Found::Completed(receipt) => Ok(Some(receipt)),
            Found::Failed(error) => {
                bail!("batch {batch_id} failed ({error}); what it wrote stays: choose another --batch-id")
            }
            Found::InProgress => bail!("batch {batch_id} is being written: wait for it, or choose another --batch-id"),
        }
    }

    /// Registers the batch.
    ///
    /// # Errors
    ///
    /// There is one of this id.
    pub(super) async fn begin(mut self) -> anyhow::Result<Batch> {
        let batch_id = self.batch_id.clone();
        ensure!(
            self.lock().await?,
            "another seed writes batch {batch_id} at this moment: wait for it, or choose another --batch-id"
        );
        let begun = sqlx::query(
            "
            insert into tandem.batch_control (batch_id, schema_name, table_name, status, started_at)
            select $1, 'sales', table_name, 'IN_PROGRESS', now()
            from unnest(array['sales_item', 'sales_transaction']) as table_name
            on conflict (batch_id, schema_name, table_name) do nothing
            ",
        )
        .bind(&batch_id)
        .execute(&mut self.primary)
        .await
        .context("the batch can't be registered")?;
        ensure!(
            begun.rows_affected() > 0,
            "batch {batch_id} was begun by somebody else just now: choose another --batch-id"
        );
        Ok(Batch { batches: self, unnamed: Vec::new(), written: Share::default() })
    }

    /// Marks a batch as failed whose seed was killed. An import is the command service's, and may be resumed.
    pub(super) async fn mark_abandoned(&mut self) -> anyhow::Result<()> {
        let is_ours = "
            select exists (select from tandem.batch_control where batch_id = $1 and status = 'IN_PROGRESS')
                and not exists (select from tandem.import where import_id::text = $1)
        ";
        let is_ours: bool = sqlx::query_scalar(is_ours).bind(&self.batch_id).fetch_one(&mut self.primary).await?;
        if is_ours && self.lock().await? {
            self.end(Share::default(), Some("its seed was killed")).await?;
        }
        Ok(())
    }

    /// `false` while another seed writes the batch. Held until the connection ends.
    async fn lock(&mut self) -> anyhow::Result<bool> {
        let lock = "select pg_try_advisory_lock(hashtextextended('tandem batch ' || $1, 0))";
        let lock = sqlx::query_scalar(lock).bind(&self.batch_id).fetch_one(&mut self.primary).await;
        lock.context("the batch can't be locked")
    }

    async fn find(&mut self) -> anyhow::Result<Found> {
        let sql = "
            select status, error, lsn, system_identifier, timeline
            from tandem.batch_control
            where batch_id = $1
            order by status = 'COMPLETED', status = 'IN_PROGRESS'
            limit 1
        ";
        let row = sqlx::query(sql).bind(&self.batch_id).fetch_optional(&mut self.primary).await;
        let row = row.context("the primary's batches can't be read: `cargo xtask up` brings its schema up to date")?;
        let Some(row) = row else { return Ok(Found::Nothing) };
        match row.try_get::<String, _>("status")?.as_str() {
            "IN_PROGRESS" => Ok(Found::InProgress),
            "FAILED" => Ok(Found::Failed(row.try_get("error")?)),
            _ => {
                let lsn: Lsn = row.try_get("lsn")?;
                let identity = tandem_replication::SystemIdentity {
                    system_identifier: row.try_get("system_identifier")?,
                    timeline: row.try_get("timeline")?,
                };
                Ok(Found::Completed(self.receipt(Position { identity, lsn }, true)))
            }
        }
    }

    /// Completes or fails the batch, behind everything that is committed; tells where that is.
    async fn end(&mut self, share: Share, error: Option<&str>) -> anyhow::Result<Position> {
        let position = Position::current(&mut self.primary).await.context("the primary's position can't be read")?;
        sqlx::query(
            "
            update tandem.batch_control
            set status = case when $2::text is null then 'COMPLETED' else 'FAILED' end,
                ended_at = now(),
                lsn = $3,
                system_identifier = $4,
                timeline = $5,
                row_count = case table_name when 'sales_item' then $7::bigint else $6::bigint end,
                error = $2
            where batch_id = $1 and status = 'IN_PROGRESS'
            ",
        )
        .bind(&self.batch_id)
        .bind(error.map(|error| error.chars().take(MAX_ERROR).collect::<String>()))
        .bind(position.lsn)
        .bind(position.identity.system_identifier)
        .bind(position.identity.timeline)
        .bind(i64::try_from(share.sales)?)
        .bind(i64::try_from(share.items)?)
        .execute(&mut self.primary)
        .await
        .context("what became of the batch can't be written")?;
        Ok(position)
    }

    fn receipt(&self, position: Position, existed: bool) -> BatchReceipt {
        let consistency_token: ConsistencyToken = position.token();
        BatchReceipt {
            batch_id: self.batch_id.clone(),
            lsn: position.lsn.to_string(),
            consistency_token: consistency_token.to_string(),
            existed,
            files: Vec::new(),
        }
    }

    /// The connection, for what else is to be read of the batch.
    pub(super) fn connection(&mut self) -> (&mut PgConnection, &str) {
        (&mut self.primary, &self.batch_id)
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.primary.close().await.context("the connection to the primary did not end cleanly")
    }
}

impl Batch {
    /// Names sales in the database transaction that writes them.
    pub(super) async fn add_part(&self, connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), sqlx::Error> {
        add_part(connection, &self.batches.batch_id, ids).await
    }

    /// Sales that were named are stored.
    pub(super) fn wrote(&mut self, share: Share) {
        self.written.add(share);
    }

    /// Names a sale that is stored.
    pub(super) async fn add(&mut self, transaction_id: &str, share: Share) -> anyhow::Result<()> {
        let transaction_id = transaction_id.parse().context("the command service gave a sale an id that is no UUID")?;
        self.unnamed.push(transaction_id);
        self.wrote(share);
        if self.unnamed.len() >= IDS_A_PART { self.name().await } else { Ok(()) }
    }

    async fn name(&mut self) -> anyhow::Result<()> {
        if !self.unnamed.is_empty() {
            let named = add_part(&mut self.batches.primary, &self.batches.batch_id, &self.unnamed).await;
            named.context("the batch's sales can't be named")?;
            self.unnamed.clear();
        }
        Ok(())
    }

    /// All of it is committed.
    pub(super) async fn complete(mut self) -> anyhow::Result<(Batches, BatchReceipt)> {
        self.name().await?;
        let position = self.batches.end(self.written, None).await?;
        let receipt = self.batches.receipt(position, false);
        Ok((self.batches, receipt))
    }

    /// It ended early; what is committed stays.
    pub(super) async fn fail(mut self, error: &str) -> anyhow::Result<()> {
        self.name().await?;
        self.batches.end(self.written, Some(error)).await?;
        self.batches.close().await
    }
}

async fn add_part(connection: &mut PgConnection, batch_id: &str, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    let sql = "
        insert into tandem.batch_part (batch_id, part, transaction_ids)
        select $1, coalesce(max(part), 0) + 1, $2
        from tandem.batch_part
        where batch_id = $1
    ";
    sqlx::query(sql).bind(batch_id).bind(ids).execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::batch_id;

    #[test]
    fn an_id_is_one_that_the_primary_takes_and_a_file_can_be_named_by() {
        assert_eq!(batch_id("nightly:2026-11-25_1").unwrap(), "nightly:2026-11-25_1");
        for wrong in ["", "-a", "a b", "a/b", &"a".repeat(101)] {
            assert!(batch_id(wrong).unwrap_err().contains("letters"), "{wrong:?}");
        }
    }
}
