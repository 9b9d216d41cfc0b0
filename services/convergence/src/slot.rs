//! The temporary slot out of which the changes of a fence are read.

use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::Row;
use sqlx::postgres::PgRow;
use tandem_replication::{Lsn, VERIFIER_PREFIX};

use crate::connect::Database;
use crate::error::CheckError;

/// A slot that lives as long as the session that made it.
#[derive(Debug)]
pub(crate) struct TemporarySlot {
    name: String,
    /// A position of the log, and the database transaction that was the next to begin when it was read.
    next: (Lsn, u64),
    /// Whether every commit before the slot's beginning can be seen by new snapshots.
    settled: bool,
}

/// The database transactions that a snapshot does not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unseen {
    next: u64,
    running: Vec<u64>,
}

impl Unseen {
    /// From the text of a `pg_snapshot`: `xmin:xmax:running,…`.
    pub(crate) fn of(snapshot: &str) -> Option<Self> {
        let mut parts = snapshot.split(':');
        let next = parts.nth(1)?.parse().ok()?;
        let running = parts.next()?.split(',').filter(|id| !id.is_empty());
        Some(Self { next, running: running.map(str::parse).collect::<Result<_, _>>().ok()? })
    }

    /// Whether the snapshot does not see the transaction whose id has these lower 32 bits.
    pub(crate) fn contains(&self, id: u32) -> bool {
        let low = |id: u64| (id & u64::from(u32::MAX)) as u32;
        id.wrapping_sub(low(self.next)) < u32::MAX / 2 || self.running.iter().any(|running| low(*running) == id)
    }
}

/// What the slot has to say of one message.
pub(crate) struct Decoded<'a> {
    /// The lower half of the id of the database transaction.
    pub(crate) transaction: u32,
    pub(crate) bytes: &'a [u8],
}

impl TemporarySlot {
    /// Makes a slot, which waits for transactions of the primary that have written and not ended.
    pub(crate) async fn create(primary: &mut Database) -> Result<Self, CheckError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("{VERIFIER_PREFIX}{}_{}", primary.pid, since.as_micros());
        let create = "select lsn::text as lsn from pg_create_logical_replication_slot($1, 'pgoutput', true)";
        primary.ask_one("making a temporary slot", sqlx::query(create).bind(&name), |_| Ok(())).await?;
        let (position, next, _) = now(primary).await?;
        Ok(Self { name, next: (position, next), settled: false })
    }

    /// Gives `read` every change that was committed since the slot's beginning and before `until`, in the order of commits.
    pub(crate) async fn peek(
        &self,
        primary: &mut Database,
        publication: &str,
        until: Lsn,
        mut read: impl FnMut(Decoded<'_>),
    ) -> Result<(), CheckError> {
        let peek = "
            select xid::text::bigint as xid, data
            from pg_logical_slot_peek_binary_changes(
                $1, $2::text::pg_lsn, null,
                'proto_version', '1', 'publication_names', quote_ident($3), 'messages', 'true')";
        let query = sqlx::query(peek).bind(&self.name).bind(until.to_string()).bind(publication);
        primary
            .ask("reading the changes of the fence", query, |row| {
                let transaction: i64 = row.try_get("xid")?;
                let transaction = u32::try_from(transaction).map_err(|error| sqlx::Error::Decode(error.into()))?;
                read(Decoded { transaction, bytes: row.try_get("data")? });
                Ok(())
            })
            .await?;
        Ok(())
    }

    /// Lets go of the log up to where every commit can be seen by new snapshots; `true` once that holds for the beginning.
    ///
    /// A commit is in the log before others see it, for as long as it waits for a disk or a standby. Passed over in that
    /// moment it would be on the replica, not in the primary's snapshot, and not among the changes of the fence.
    pub(crate) async fn advance(&mut self, primary: &mut Database) -> Result<bool, CheckError> {
        let (position, next, oldest) = now(primary).await?;
        if oldest >= self.next.1 {
            if self.settled {
                let advance = "select end_lsn::text as lsn from pg_replication_slot_advance($1, $2::text::pg_lsn)";
                let query = sqlx::query(advance).bind(&self.name).bind(self.next.0.to_string());
                primary.ask("advancing the temporary slot", query, |_| Ok(())).await?;
            }
            self.settled = true;
            self.next = (position, next);
        }
        Ok(self.settled)
    }

    /// Takes the slot away before its session ends.
    pub(crate) async fn drop(self, primary: &mut Database) -> Result<(), CheckError> {
        let query = sqlx::query("select pg_drop_replication_slot($1)::text").bind(&self.name);
        primary.ask("dropping the temporary slot", query, |_| Ok(())).await?;
        Ok(())
    }
}

/// A position that is on disk, the next transaction's id, and that of the oldest that has not ended.
async fn now(primary: &mut Database) -> Result<(Lsn, u64, u64), CheckError> {
    let now = "
        select pg_current_wal_flush_lsn()::text as lsn,
               pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next,
               pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest";
    primary
        .ask_one("reading which transactions run", sqlx::query(now), |row| {
            let id = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
            Ok((position(&row)?, id("next")?, id("oldest")?))
        })
        .await
}

/// The column `lsn`, which is sent as text: sqlx would have to look the type up.
pub(crate) fn position(row: &PgRow) -> Result<Lsn, sqlx::Error> {
    let text: &str = row.try_get("lsn")?;
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_does_not_see_what_ran_and_what_came_later() {
        let unseen = Unseen::of("10:20:10,15").unwrap();
        let of = |id| unseen.contains(id);
        assert_eq!(
            (of(9), of(10), of(11), of(15), of(19), of(20), of(21)),
            (false, true, false, true, false, true, true)
        );
        assert!(!Unseen::of("10:10:").unwrap().contains(9));
    }

    #[test]
    fn ids_beyond_32_bits_are_told_by_their_lower_half() {
        let unseen = Unseen::of("4294967300:4294967310:4294967300").unwrap();
        assert_eq!((unseen.contains(4), unseen.contains(5), unseen.contains(14)), (true, false, true));
        // Just before the turn.
        assert!(!unseen.contains(u32::MAX));
    }
}
