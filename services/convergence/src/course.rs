//! What a check does between its first fence and its verdict.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::try_join;

use crate::check::guarded;
use crate::differences::{self, Difference, Kind};
use crate::error::CheckError;
use crate::fence::{Fences, Touched};
use crate::key::{Key, KeyRange};
use crate::leftover::Leftover;
use crate::mutation::mutated;
use crate::options::Options;
use crate::pending::Pending;
use crate::phase::{Observe, Phase};
use crate::published::PublishedTable;
use crate::report::{Report, TableReport, Verdict};
use crate::rollups::RollupReport;
use crate::scan::{self, Both, Sides};
use crate::search::{Found, Search};
use crate::watch::watch;
use crate::{sales, sample};

/// A check under way.
pub(crate) struct Course<'a> {
    options: &'a Options,
    tables: &'a [PublishedTable],
    /// The sales of the batch that is compared alone.
    sales: Option<Vec<String>>,
    /// Which of the tables are compared.
    wanted: Vec<usize>,
    /// Of each table, once the first fence has been raised.
    known: Vec<Known>,
    fences: u32,
    waited: Duration,
}

/// What is known of a table.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Whether it was read at all.
    pub(crate) read: bool,
    /// Rows of the primary that its snapshot showed and that were asked for.
    pub(crate) rows: u64,
    /// Of a sample: rows that the table has, about.
    pub(crate) sampled_of: Option<u64>,
    /// What both sides came to, without the rows that were set aside.
    pub(crate) both: Option<Both>,
    /// Rows of which nothing can be said yet.
    pub(crate) pending: Pending,
    pub(crate) differences: Vec<Difference>,
    pub(crate) more: bool,
}

impl<'a> Course<'a> {
    /// The tables that are to be compared, by their numbers.
    pub(crate) fn wanted(options: &Options, tables: &[PublishedTable]) -> Result<Vec<usize>, CheckError> {
        match options.batch_id {
            Some(_) => sales::tables(tables),
            None => Ok((0..tables.len()).collect()),
        }
    }

    pub(crate) fn new(
        options: &'a Options,
        tables: &'a [PublishedTable],
        wanted: Vec<usize>,
        sales: Option<Vec<String>>,
    ) -> Self {
        let known = tables.iter().map(|_| Known::default()).collect();
        Self { options, tables, sales, wanted, known, fences: 0, waited: Duration::ZERO }
    }

    /// Raises fences until every row has a verdict.
    pub(crate) async fn run(
        &mut self,
        fences: &mut Fences<'_>,
        sides: &mut Sides,
        observe: Observe<'_>,
    ) -> Result<(), CheckError> {
        self.first(fences, sides, observe).await?;
        while self.undecided() > 0 {
            observe(&Phase::Resting { rows: self.undecided() });
            fences.primary.deadline.pause(self.options.interval, "resting between two fences").await?;
            self.again(fences, sides, observe).await?;
        }
        Ok(())
    }

    fn undecided(&self) -> usize {
        self.known.iter().map(|known| known.pending.len()).sum()
    }

    /// Raises a fence around snapshots of these tables.
    async fn raise(
        &self,
        fences: &mut Fences<'_>,
        sides: &mut Sides,
        numbers: &[usize],
        observe: Observe<'_>,
    ) -> Result<Touched, CheckError> {
        let begun = fences.begin(observe).await?;
        let tables: Vec<&PublishedTable> = numbers.iter().map(|number| &self.tables[*number]).collect();
        let snapshots = try_join(sides.primary.begin(&tables), sides.replica.begin(&tables));
        let (unseen, _) = snapshots.await?;
        let unseen = unseen.ok_or(CheckError::NoMark)?;
        fences.end(begun, &unseen).await
    }

    async fn lower(sides: &mut Sides) -> Result<(), CheckError> {
        try_join(sides.primary.end(), sides.replica.end()).await?;
        Ok(())
    }

    /// The first fence, in which everything is read.
    async fn first(
        &mut self,
        fences: &mut Fences<'_>,
        sides: &mut Sides,
        observe: Observe<'_>,
    ) -> Result<(), CheckError> {
        let wanted = self.wanted.clone();
        let touched = self.raise(fences, sides, &wanted, observe).await?;
        let (on_primary, on_replica) = (sides.primary.pids(), sides.replica.pids());
        let reading = self.read(sides, &touched, observe);
        self.known = guarded(reading, watch(fences, self.tables, &on_primary, &on_replica)).await?;
        Self::lower(sides).await
    }

    async fn read(&self, sides: &mut Sides, touched: &Touched, observe: Observe<'_>) -> Result<Vec<Known>, CheckError> {
        if let Some(ids) = &self.sales {
            return sales::read(sides, self.tables, &self.wanted, ids, touched, observe).await;
        }
        if let Some(rows) = self.options.sample {
            let mut known = Vec::new();
            for (number, table) in self.tables.iter().enumerate() {
                known.push(sample::read(sides, &self.search(table, touched.of(number), observe), rows).await?);
            }
            return Ok(known);
        }
        let raw = scan::whole(sides, self.tables, &self.wanted, self.options.rest, observe).await?;
        let mut known = Vec::new();
        for (number, (table, mut both)) in self.tables.iter().zip(raw).enumerate() {
            let set_aside = touched.of(number);
            let rows = both.primary.rows.unsigned_abs();
            if !set_aside.is_empty() {
                let aside = scan::set_aside(sides, table, set_aside).await?;
                both.primary -= aside.primary;
                both.replica -= aside.replica;
            }
            let found = if both.differ() {
                self.search(table, set_aside, observe).run(sides, KeyRange::ALL, both).await?
            } else {
                Found::default()
            };
            let pending = Pending::of(set_aside, found.rows);
            known.push(Known { read: true, rows, both: Some(both), pending, more: found.more, ..Known::default() });
        }
        Ok(known)
    }

    fn search<'s>(
        &'s self,
        table: &'s PublishedTable,
        set_aside: &'s HashSet<Key>,
        observe: Observe<'s>,
    ) -> Search<'s> {
        let range_size = u64::from(self.options.range_size.max(1));
        Search { table, set_aside, range_size, most: self.options.differences, observe }
    }

    /// A further fence, in which the undecided rows are read.
    async fn again(
        &mut self,
        fences: &mut Fences<'_>,
        sides: &mut Sides,
        observe: Observe<'_>,
    ) -> Result<(), CheckError> {
        // What is called a difference has to be one.
        fences.settle().await?;
        observe(&Phase::Rechecking { rows: self.undecided(), fence: fences.begun + 1 });
        let open: Vec<usize> = (0..self.known.len()).filter(|number| self.known[*number].pending.len() > 0).collect();
        let touched = self.raise(fences, sides, &open, observe).await?;
        let (on_primary, on_replica) = (sides.primary.pids(), sides.replica.pids());
        let watching = watch(fences, self.tables, &on_primary, &on_replica);
        let (tables, known) = (self.tables, &mut self.known);
        let rechecking = async {
            for number in open {
                recheck(sides, &tables[number], &mut known[number], touched.of(number)).await?;
            }
            Ok(())
        };
        guarded(rechecking, watching).await?;
        Self::lower(sides).await
    }

    /// Keeps what outlasts the fences.
    pub(crate) fn note(&mut self, fences: &Fences<'_>) {
        (self.fences, self.waited) = (fences.begun, fences.waited);
    }

    /// A difference that two fences saw stands, whatever stopped the others.
    pub(crate) fn give_up(
        self,
        error: CheckError,
        leftovers: Vec<Leftover>,
        elapsed: Duration,
    ) -> Result<Report, CheckError> {
        if !error.is_time_out() {
            return Err(error);
        }
        if self.known.iter().any(|known| !known.differences.is_empty()) {
            return Ok(self.report(None, leftovers, elapsed));
        }
        let rows = self.undecided();
        match error {
            // Time that ran out in the middle of a further fence ran out because of the fences before.
            CheckError::TimedOut { timeout, .. } if rows > 0 => {
                let open = self.known.iter().zip(self.tables).filter(|(known, _)| known.pending.len() > 0);
                let tables = open.map(|(_, table)| table.name.clone()).collect();
                mutated!(
                    TimeOutIsEqual,
                    Err(CheckError::KeptChanging { timeout, fences: self.fences, rows, tables }),
                    Ok(Report { equal: true, ..self.report(None, leftovers, elapsed) })
                )
            }
            error => Err(error),
        }
    }

    pub(crate) fn report(self, rollups: Option<RollupReport>, leftovers: Vec<Leftover>, elapsed: Duration) -> Report {
        let known = self.known.into_iter().zip(self.tables).enumerate();
        let wanted = known.filter(|(number, _)| self.wanted.contains(number));
        let tables = wanted.map(|(_, (known, table))| known.report(table)).collect();
        Report::new(tables, rollups, self.fences, self.waited, elapsed).with_leftovers(leftovers)
    }
}

impl Known {
    fn report(self, table: &PublishedTable) -> TableReport {
        let verdict = if !self.differences.is_empty() {
            Verdict::Different
        } else if !self.read || self.pending.len() > 0 {
            Verdict::Undecided
        } else {
            Verdict::Equal
        };
        TableReport {
            table: table.name.clone(),
            verdict,
            rows: self.rows,
            set_aside: self.pending.set_aside() as u64,
            rechecked: self.pending.rechecked() as u64,
            differences: self.differences,
            more_differences: self.more,
            sampled_of: self.sampled_of,
            primary: self.both.map(|both| both.primary),
            replica: self.both.map(|both| both.replica),
        }
    }
}

/// Looks at the undecided rows of a table once more.
async fn recheck(
    sides: &mut Sides,
    table: &PublishedTable,
    known: &mut Known,
    touched: &HashSet<Key>,
) -> Result<(), CheckError> {
    let keys = known.pending.keys();
    let (primary, replica) = (sides.primary.first(), sides.replica.first());
    let (on_primary, on_replica) =
        try_join(primary.hashes_of_keys(table, &keys), replica.hashes_of_keys(table, &keys)).await?;
    let differing = differences::between(on_primary, on_replica, touched);
    let certain = known.pending.record(touched, &differing);
    known.differences.extend(described(sides, table, certain).await?);
    known.differences.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(())
}

/// Names the columns that differ.
async fn described(
    sides: &mut Sides,
    table: &PublishedTable,
    certain: Vec<(Key, Kind)>,
) -> Result<Vec<Difference>, CheckError> {
    let changed: Vec<Key> =
        certain.iter().filter(|(_, kind)| *kind == Kind::Different).map(|(key, _)| key.clone()).collect();
    let (primary, replica) = (sides.primary.first(), sides.replica.first());
    let (on_primary, on_replica) = try_join(primary.texts(table, &changed), replica.texts(table, &changed)).await?;
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let on_primary: std::collections::BTreeMap<Key, _> = on_primary.into_iter().collect();
    let on_replica: std::collections::BTreeMap<Key, _> = on_replica.into_iter().collect();
    let describe = |(key, kind): (Key, Kind)| {
        let texts = on_primary.get(&key).zip(on_replica.get(&key));
        let columns = texts.map(|(one, other)| differences::columns(&names, one, other));
        let columns = mutated!(NameNoColumns, columns, None).unwrap_or_default();
        Difference { key, kind, columns }
    };
    Ok(certain.into_iter().map(describe).collect())
}
