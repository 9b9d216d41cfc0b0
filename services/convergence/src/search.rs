//! Finds the rows that differ in a table that differs: its range of keys is split, and each part that differs again, until
//! a part is small enough to look at its rows.

use std::collections::HashSet;

use futures::future::{try_join, try_join_all};

use crate::differences::{self, Kind};
use crate::error::CheckError;
use crate::key::{Key, KeyRange};
use crate::mutation::mutated;
use crate::phase::{Observe, Phase};
use crate::published::PublishedTable;
use crate::readers::{Reader, listed};
use crate::scan::{Both, Sides};
use crate::statement::Rows;

/// Into how many parts a range is split at most. More parts mean fewer levels, each of which reads what differs once.
const PARTS: u64 = 64;

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rows: Vec<(Key, Kind)>,
    /// Whether the search stopped before it had looked everywhere.
    pub(crate) more: bool,
}

/// A search in one table.
pub(crate) struct Search<'a> {
    pub(crate) table: &'a PublishedTable,
    pub(crate) set_aside: &'a HashSet<Key>,
    /// Rows of a range that are looked at one by one.
    pub(crate) range_size: u64,
    /// The search stops when it has found more.
    pub(crate) most: usize,
    pub(crate) observe: Observe<'a>,
}

/// A range that differs.
#[derive(Debug)]
struct Open {
    range: KeyRange,
    both: Both,
}

impl Search<'_> {
    /// Looks for the rows that differ in a range of which the sums are known.
    pub(crate) async fn run(&self, sides: &mut Sides, range: KeyRange, both: Both) -> Result<Found, CheckError> {
        let mut found = Found::default();
        // The last one first, so that what is open stays little: a level has at most so many parts.
        let mut open = vec![Open { range, both }];
        let set_aside = listed(self.set_aside);
        while let Some(differing) = open.pop() {
            if found.rows.len() > self.most {
                break;
            }
            let parts = self.split(sides, &differing).await?;
            if parts.len() > 1 {
                open.extend(self.compare(sides, parts, &set_aside).await?.into_iter().rev());
            } else {
                found.rows.extend(self.look(sides, &differing.range).await?);
                let (table, found) = (self.table.name.clone(), found.rows.len());
                (self.observe)(&Phase::Searching { table, found });
            }
        }
        if found.rows.len() > self.most {
            found.rows.truncate(self.most);
            found.more = mutated!(HideMore, true, false);
        }
        Ok(found)
    }

    /// The parts of a range; itself alone where it is small.
    async fn split(&self, sides: &mut Sides, open: &Open) -> Result<Vec<KeyRange>, CheckError> {
        let (on_primary, on_replica) = (open.both.primary.rows, open.both.replica.rows);
        let rows = on_primary.max(on_replica).unsigned_abs();
        if rows <= self.range_size {
            return Ok(vec![open.range.clone()]);
        }
        let step = rows.div_ceil(rows.div_ceil(self.range_size).min(PARTS));
        // Where one side has few rows of many, its keys would not cut the others.
        let fuller = if on_primary >= on_replica { &mut sides.primary } else { &mut sides.replica };
        let cuts = fuller.first().cuts(self.table, &open.range, step).await?;
        let parts = open.range.clone().cut(cuts);
        Ok(mutated!(SkipFirstPart, parts, parts.into_iter().skip(1).collect()))
    }

    /// Those of the parts that differ, in their order.
    async fn compare(
        &self,
        sides: &mut Sides,
        parts: Vec<KeyRange>,
        set_aside: &[Key],
    ) -> Result<Vec<Open>, CheckError> {
        let lanes = sides.primary.all.iter_mut().zip(&mut sides.replica.all).enumerate();
        let count = lanes.len();
        let parts = &parts;
        let compared = try_join_all(lanes.map(|(lane, (primary, replica))| async move {
            let mut compared = Vec::new();
            for (number, range) in parts.iter().enumerate().skip(lane).step_by(count) {
                let both = try_join(self.sums(primary, range, set_aside), self.sums(replica, range, set_aside));
                let (primary, replica) = both.await?;
                compared.push((number, Both { primary, replica }));
            }
            Ok::<_, CheckError>(compared)
        }));
        let mut differing: Vec<(usize, Both)> =
            compared.await?.into_iter().flatten().filter(|(_, both)| both.differ()).collect();
        differing.sort_unstable_by_key(|(number, _)| *number);
        Ok(differing.into_iter().map(|(number, both)| Open { range: parts[number].clone(), both }).collect())
    }

    pub(crate) async fn sums(
        &self,
        reader: &mut Reader,
        range: &KeyRange,
        set_aside: &[Key],
    ) -> Result<crate::sums::Sums, CheckError> {
        let mut sums = reader.sums(self.table, Rows::InRange(range)).await?;
        sums -= reader.sums_of_keys(self.table, set_aside, range).await?;
        Ok(sums)
    }

    /// Compares the rows of a range one by one.
    async fn look(&self, sides: &mut Sides, range: &KeyRange) -> Result<Vec<(Key, Kind)>, CheckError> {
        let (primary, replica) = (sides.primary.first(), sides.replica.first());
        let (primary, replica) = try_join(
            primary.hashes(self.table, Rows::InRange(range)),
            replica.hashes(self.table, Rows::InRange(range)),
        )
        .await?;
        Ok(differences::between(primary, replica, self.set_aside))
    }
}
