//! Reads tables whole, in the order of their blocks, on both sides at once.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use futures::future::{try_join, try_join_all};
use tokio::time::Instant;

use crate::error::CheckError;
use crate::key::{Key, KeyRange};
use crate::mutation::mutated;
use crate::pace::Pace;
use crate::phase::{Observe, Phase};
use crate::published::PublishedTable;
use crate::readers::{Reader, Readers, listed};
use crate::statement::Rows;
use crate::sums::Sums;

/// Blocks that one statement reads: 16 MB, a tenth of a second or less. Sums of parts add up, whichever rows are in
/// which part, so the two sides need not be cut alike.
const BLOCKS_AT_ONCE: u64 = 2_048;

/// Both sides, each in one snapshot.
pub(crate) struct Sides {
    pub(crate) primary: Readers,
    pub(crate) replica: Readers,
}

/// What both sides come to, without what was set aside.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Both {
    pub(crate) primary: Sums,
    pub(crate) replica: Sums,
}

impl Both {
    pub(crate) fn differ(self) -> bool {
        self.primary != self.replica
    }
}

/// A stretch of a table.
#[derive(Debug, Clone, Copy)]
struct Part {
    table: usize,
    from: u64,
    until: Option<u64>,
}

/// What is left to read, and what was found.
struct Work<'a> {
    parts: Mutex<VecDeque<Part>>,
    sums: Mutex<Vec<Sums>>,
    tables: &'a [PublishedTable],
    /// See [`Pace`].
    rest: f64,
}

/// How far both sides are.
struct Progress<'a> {
    done: Mutex<u64>,
    of: u64,
    observe: Observe<'a>,
}

/// Sums of these tables, by their numbers; `None` for others.
pub(crate) async fn whole(
    sides: &mut Sides,
    tables: &[PublishedTable],
    wanted: &[usize],
    rest: f64,
    observe: Observe<'_>,
) -> Result<Vec<Both>, CheckError> {
    let on_primary = parts(&mut sides.primary, tables, wanted).await?;
    let on_replica = parts(&mut sides.replica, tables, wanted).await?;
    let of = (on_primary.len() + on_replica.len()) as u64;
    let progress = Progress { done: Mutex::new(0), of, observe };
    let work = |parts: Vec<Part>| Work {
        parts: Mutex::new(parts.into()),
        sums: Mutex::new(vec![Sums::default(); tables.len()]),
        tables,
        rest,
    };
    let (on_primary, on_replica) = (work(on_primary), work(on_replica));
    try_join(on_primary.read(&mut sides.primary, &progress), on_replica.read(&mut sides.replica, &progress)).await?;
    let both = on_primary.sums().into_iter().zip(on_replica.sums());
    Ok(both.map(|(primary, replica)| Both { primary, replica }).collect())
}

/// The sums of the rows that were set aside.
pub(crate) async fn set_aside(
    sides: &mut Sides,
    table: &PublishedTable,
    keys: &HashSet<Key>,
) -> Result<Both, CheckError> {
    let keys = listed(keys);
    let (primary, replica) = (sides.primary.first(), sides.replica.first());
    let (primary, replica) = try_join(
        primary.sums_of_keys(table, &keys, &KeyRange::ALL),
        replica.sums_of_keys(table, &keys, &KeyRange::ALL),
    )
    .await?;
    Ok(Both { primary, replica })
}

async fn parts(readers: &mut Readers, tables: &[PublishedTable], wanted: &[usize]) -> Result<Vec<Part>, CheckError> {
    let mut parts = Vec::new();
    for &table in mutated!(FirstTableOnly, wanted, &wanted[..1]) {
        let blocks = readers.first().blocks(&tables[table]).await?;
        let starts = (0..blocks.max(1)).step_by(usize::try_from(BLOCKS_AT_ONCE).unwrap_or(usize::MAX));
        // The last part has no end: the table may have grown since, by rows that the snapshot does not show.
        parts.extend(starts.map(|from| {
            let until = from + BLOCKS_AT_ONCE;
            let last = mutated!(SkipLastBlock, None, Some(blocks.saturating_sub(1)));
            Part { table, from, until: if until < blocks { Some(until) } else { last } }
        }));
    }
    Ok(parts)
}

impl Work<'_> {
    async fn read(&self, readers: &mut Readers, progress: &Progress<'_>) -> Result<(), CheckError> {
        try_join_all(readers.all.iter_mut().map(|reader| self.read_alone(reader, progress))).await?;
        Ok(())
    }

    async fn read_alone(&self, reader: &mut Reader, progress: &Progress<'_>) -> Result<(), CheckError> {
        let mut pace = Pace::new(self.rest);
        let mut next = self.next();
        while let Some(part) = next {
            let table = &self.tables[part.table];
            let rows = match part {
                // Also of what has no blocks of its own: a partitioned table.
                Part { from: 0, until: None, .. } => Rows::InRange(&KeyRange::ALL),
                Part { from, until, .. } => Rows::InBlocks(from, until),
            };
            let began = Instant::now();
            let (sums, log) = reader.sums_and_log(table, rows).await?;
            let rest = pace.after(Instant::now(), began.elapsed(), log);
            self.sums.lock().unwrap_or_else(PoisonError::into_inner)[part.table] += sums;
            progress.step();
            next = self.next();
            if next.is_some() && !rest.is_zero() {
                reader.database.deadline.pause(rest, "making room for those who write").await?;
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<Part> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn sums(self) -> Vec<Sums> {
        self.sums.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress<'_> {
    fn step(&self) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += 1;
        (self.observe)(&Phase::Reading { done: *done, of: self.of });
    }
}
