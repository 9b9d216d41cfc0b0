//! Mends rows of the replica from the primary, beside the apply worker.
//!
//! A batch of rows is mended within a fence of its own, so that it can't undo what the apply worker does, nor make it stumble:
//!
//! 1. A first mark is set, and the replica has applied everything before it.
//! 2. The rows are locked on the replica, as far as they are there; those that the apply worker has are left for later.
//! 3. The primary's rows are read in a snapshot, and written on the replica: rows that were missing are inserted, which keeps
//!    the apply worker from them as a lock does. From here on until COMMIT what the replica holds of these keys stands still.
//! 4. A second mark is set. If no commit between the marks touched any of these keys, the primary's rows are the same at every
//!    position that the replica may have applied up to, and COMMIT is right: whatever comes later is applied to rows as they
//!    were on the primary just before. Else everything is rolled back, and the keys are tried again.
//!
//! Triggers fire as they do for the apply worker: rollups stay exact.

mod dml;
mod plan;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sqlx::Row as _;

use crate::check::{Prepared, clean_up};
use crate::connect::{Database, Deadline};
use crate::error::{CheckError, Side};
use crate::fence::Fences;
use crate::key::Key;
use crate::options::Options;
use crate::phase::{Observe, Phase};
use crate::published::PublishedTable;
use crate::readers::Readers;
use crate::report::Report;
use crate::slot::TemporarySlot;
use crate::statement::Statement;

pub use plan::{Repair, TablePlan};

/// Rows that are mended in one transaction: few enough that the apply worker hardly ever wants one of them meanwhile.
const ROWS_AT_ONCE: usize = 100;

/// Below `deadlock_timeout` (1 s): in a deadlock it is never the apply worker who has to give up.
const LOCK_TIMEOUT: &str = "300ms";

/// Between tries of rows that are in use.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Who mends.
struct Mender<'a> {
    fences: Fences<'a>,
    primary: Readers,
    replica: Database,
}

/// Mends the rows that a report lists, and says how many.
///
/// # Errors
///
/// As [`check`](crate::check()); batches that were committed before stay.
pub(crate) async fn repair(
    primary_url: &str,
    replica_url: &str,
    options: &Options,
    report: &Report,
    observe: Observe<'_>,
) -> Result<usize, CheckError> {
    let deadline = Deadline::after(options.timeout, options.stop.clone());
    let Prepared { mut primary, replica, tables, .. } =
        Prepared::connect(primary_url, replica_url, options, &deadline, observe).await?;
    let slot_pid = primary.pid;
    let mending = async {
        let settings = [("session_replication_role", "replica"), ("lock_timeout", LOCK_TIMEOUT)];
        let slot = TemporarySlot::create(&mut primary).await?;
        let mut mender = Mender {
            fences: Fences::around(slot, primary, replica, options, &tables),
            primary: Readers::connect(Side::Primary, primary_url, 1, &deadline).await?,
            replica: Database::open(Side::Replica, replica_url, &deadline, &settings).await?,
        };
        let mended = mender.all(&tables, report, observe).await?;
        mender.fences.close().await?;
        Ok(mended)
    };
    let mended = mending.await;
    if mended.is_err() {
        clean_up(primary_url, slot_pid).await;
    }
    mended
}

impl Mender<'_> {
    async fn all(
        &mut self,
        tables: &[PublishedTable],
        report: &Report,
        observe: Observe<'_>,
    ) -> Result<usize, CheckError> {
        let (of, mut done) = (report.differences(), 0);
        self.fences.settle().await?;
        for differing in &report.tables {
            let Some(number) = tables.iter().position(|table| table.name == differing.table) else { continue };
            let mut left: Vec<Key> = differing.differences.iter().map(|one| one.key.clone()).collect();
            while !left.is_empty() {
                observe(&Phase::Repairing { done, of });
                let batch: Vec<Key> = left.drain(..left.len().min(ROWS_AT_ONCE)).collect();
                let in_use = self.batch(tables, number, &batch, observe).await?;
                done += batch.len() - in_use.len();
                if !in_use.is_empty() {
                    self.replica.deadline.pause(BETWEEN_TRIES, "mending rows that are in use").await?;
                }
                left.extend(in_use);
            }
        }
        Ok(done)
    }

    /// Mends rows of one table; gives the keys of those that were in use.
    async fn batch(
        &mut self,
        tables: &[PublishedTable],
        number: usize,
        keys: &[Key],
        observe: Observe<'_>,
    ) -> Result<Vec<Key>, CheckError> {
        let table = &tables[number];
        let begun = self.fences.begin(observe).await?;
        let written = match self.write(table, keys).await {
            Ok(written) => written,
            // Somebody holds what we want: he goes first.
            Err(CheckError::Query { source, side: Side::Replica, .. }) if crate::readers::is_lock_timeout(&source) => {
                self.undo().await?;
                return Ok(keys.to_vec());
            }
            Err(error) => return Err(error),
        };
        let Written { unseen, passed_over } = written;
        let touched = self.fences.end(begun, &unseen).await;
        self.primary.end().await?;
        let touched = touched?;
        let touched: HashSet<&Key> = keys.iter().filter(|key| touched.of(number).contains(*key)).collect();
        if touched.is_empty() {
            self.replica.execute("mending rows", "commit").await?;
            return Ok(passed_over);
        }
        self.undo().await?;
        // Those that nobody touched are tried at once, without the others.
        let still: Vec<Key> = keys.iter().filter(|key| !touched.contains(key)).cloned().collect();
        let mut in_use: Vec<Key> = touched.into_iter().cloned().collect();
        if still.is_empty() {
            Ok(in_use)
        } else {
            in_use.extend(Box::pin(self.batch(tables, number, &still, observe)).await?);
            Ok(in_use)
        }
    }

    async fn undo(&mut self) -> Result<(), CheckError> {
        self.replica.execute("giving rows back", "rollback").await
    }

    /// Locks the rows and writes what the primary has of them, without COMMIT.
    async fn write(&mut self, table: &PublishedTable, keys: &[Key]) -> Result<Written, CheckError> {
        self.replica.execute("mending rows", "begin").await?;
        let locked: HashSet<Key> = self.keys(table, &dml::lock(table, keys)).await?.into_iter().collect();
        let present = self.keys(table, &dml::present(table, keys)).await?;
        // Locked by somebody else, or come just now.
        let passed_over: Vec<Key> = present.iter().filter(|key| !locked.contains(key)).cloned().collect();
        let free = keys.iter().filter(|key| !passed_over.contains(key));
        let free: Vec<Key> = free.cloned().collect();
        let unseen = self.primary.begin(&[table]).await?.ok_or(CheckError::NoMark)?;
        let rows: BTreeMap<Key, Vec<Option<String>>> =
            self.primary.first().texts(table, &free).await?.into_iter().collect();
        let (there, missing): (Vec<_>, Vec<_>) = rows.iter().partition(|(key, _)| locked.contains(key));
        let extra: Vec<Key> = free.iter().filter(|key| !rows.contains_key(key)).cloned().collect();
        let values = |rows: Vec<(&Key, &Vec<Option<String>>)>| rows.into_iter().map(|(_, row)| row.clone()).collect();
        for statement in
            [dml::insert(table, values(missing)), dml::update(table, values(there)), dml::delete(table, &extra)]
        {
            let Some(statement) = statement else { continue };
            self.replica.ask("mending rows", statement.query(), |_| Ok(())).await?;
        }
        Ok(Written { unseen, passed_over })
    }

    async fn keys(&mut self, table: &PublishedTable, statement: &Statement) -> Result<Vec<Key>, CheckError> {
        let doing = format!("locking rows of {}", table.name);
        self.replica.ask(&doing, statement.query(), |row| Ok(Key(row.try_get("key")?))).await
    }
}

/// What was written and not committed.
struct Written {
    /// What the primary's snapshot does not see.
    unseen: crate::slot::Unseen,
    /// Rows that somebody else has locked.
    passed_over: Vec<Key>,
}
