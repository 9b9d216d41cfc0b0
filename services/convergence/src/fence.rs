//! Fences: stretches of the primary's log with a snapshot of each side inside of them.
//!
//! A fence begins with a mark in the log that the replica has to reach. Snapshots are taken, and a second mark is set.
//! Whatever was committed before the first mark, both snapshots show; whatever was committed behind the second one,
//! neither does. A row that no commit in between touched must look the same in both.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::future::try_join;
use tandem_replication::{Column, Lsn, Relation};

use crate::catch_up;
use crate::connect::Database;
use crate::error::{CheckError, Side};
use crate::key::Key;
use crate::mutation::mutated;
use crate::options::Options;
use crate::phase::{Observe, Phase};
use crate::published::{self, PublishedTable};
use crate::slot::{self, Decoded, TemporarySlot, Unseen};
use crate::touched::{self, Message};

/// The prefix of our messages in the log.
const MARK: &str = "tandem_verify";

/// Rows that one fence may set aside. They are kept in memory; a bulk load in the middle of a fence writes more, and is
/// over soon.
const MOST_SET_ASIDE: usize = 100_000;

/// Between looks at the transactions that were open when the slot was made.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Raises fences, one after the other.
pub(crate) struct Fences<'a> {
    pub(crate) primary: Database,
    pub(crate) replica: Database,
    slot: TemporarySlot,
    publication: &'a str,
    subscription: &'a str,
    tables: &'a [PublishedTable],
    /// How many were begun.
    pub(crate) begun: u32,
    /// How long the replica was waited for.
    pub(crate) waited: Duration,
}

/// The first mark of a fence.
#[derive(Debug)]
pub(crate) struct Begun(String);

/// The keys of each table that were touched in a fence.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    of_table: Vec<HashSet<Key>>,
}

impl Touched {
    pub(crate) fn of(&self, table: usize) -> &HashSet<Key> {
        &self.of_table[table]
    }
}

impl<'a> Fences<'a> {
    /// The slot is one of the primary's session.
    pub(crate) fn around(
        slot: TemporarySlot,
        primary: Database,
        replica: Database,
        options: &'a Options,
        tables: &'a [PublishedTable],
    ) -> Self {
        let (publication, subscription) = (options.publication.as_str(), options.subscription.as_str());
        Self { primary, replica, slot, publication, subscription, tables, begun: 0, waited: Duration::ZERO }
    }

    /// Sets the first mark and waits until the replica has applied everything before it.
    pub(crate) async fn begin(&mut self, observe: Observe<'_>) -> Result<Begun, CheckError> {
        self.begun += 1;
        let mark = self.own("begin");
        let position = self.mark(&mark).await?;
        observe(&Phase::WaitingForReplica(position));
        let reaching = mutated!(DontWaitForReplica, position, Lsn::default());
        self.waited += catch_up::reach(&mut self.primary, &mut self.replica, self.subscription, reaching).await?;
        Ok(Begun(mark))
    }

    /// Sets the second mark, behind snapshots that were taken since the first one, and reads what was touched in between.
    ///
    /// `unseen` is what the primary's snapshot does not see: a transaction may have committed before the first mark, wait
    /// for a standby, and be on the replica already.
    pub(crate) async fn end(&mut self, begun: Begun, unseen: &Unseen) -> Result<Touched, CheckError> {
        let mark = self.own("end");
        let until = self.mark(&mark).await?;
        let mut reading = Reading::new(self.tables, begun.0, mark, unseen);
        self.slot.peek(&mut self.primary, self.publication, until, |decoded| reading.take(&decoded)).await?;
        let touched = reading.conclude()?;
        mutated!(IgnoreSchemaChange, self.tables_unchanged().await?, ());
        Ok(mutated!(SetNothingAside, touched, Touched { of_table: vec![HashSet::new(); self.tables.len()] }))
    }

    /// DDL of a table that is not written afterwards is not in the changes.
    async fn tables_unchanged(&mut self) -> Result<(), CheckError> {
        let on_primary = published::unchanged(Side::Primary, &mut self.primary, Some(self.publication), self.tables);
        let on_replica = published::unchanged(Side::Replica, &mut self.replica, None, self.tables);
        try_join(on_primary, on_replica).await?;
        Ok(())
    }

    /// Waits until snapshots of the primary see every commit before the slot's beginning, whose changes the slot can't tell.
    /// Only what would be called a difference has to wait for that.
    pub(crate) async fn settle(&mut self) -> Result<(), CheckError> {
        while !self.slot.advance(&mut self.primary).await? {
            let doing = "waiting for transactions that were open on the primary when the check began";
            self.primary.deadline.pause(BETWEEN_LOOKS, doing).await?;
        }
        Ok(())
    }

    /// Lets go of the log that no later fence needs.
    pub(crate) async fn advance(&mut self) -> Result<(), CheckError> {
        self.slot.advance(&mut self.primary).await?;
        Ok(())
    }

    /// Takes the slot away.
    pub(crate) async fn close(mut self) -> Result<(), CheckError> {
        self.slot.drop(&mut self.primary).await
    }

    /// Writes a mark and gives the position behind it. Its commit takes everything before it to the disk, up to where the
    /// changes can be read: also commits that were made with `synchronous_commit` off.
    async fn mark(&mut self, content: &str) -> Result<Lsn, CheckError> {
        let mark = "select pg_logical_emit_message(true, $1, $2)::text";
        let query = sqlx::query(mark).bind(MARK).bind(content);
        self.primary.ask("marking the log", query, |_| Ok(())).await?;
        let position = sqlx::query("select pg_current_wal_flush_lsn()::text as lsn");
        self.primary.ask_one("reading the log position", position, |row| slot::position(&row)).await
    }

    /// A mark that is this fence's alone: two verifiers at once read each other's.
    fn own(&self, which: &str) -> String {
        format!("{} {} {which}", self.primary.pid, self.begun)
    }
}

/// The changes as they are read.
struct Reading<'a> {
    tables: &'a [PublishedTable],
    begin: String,
    end: String,
    unseen: &'a Unseen,
    begun: bool,
    ended: bool,
    /// The table of each relation of the stream, and the places of its key's columns there.
    places: HashMap<u32, Vec<usize>>,
    numbers: HashMap<u32, usize>,
    touched: Touched,
    set_aside: usize,
    failed: Option<CheckError>,
}

impl<'a> Reading<'a> {
    fn new(tables: &'a [PublishedTable], begin: String, end: String, unseen: &'a Unseen) -> Self {
        Self {
            tables,
            begin,
            end,
            unseen,
            begun: false,
            ended: false,
            places: HashMap::new(),
            numbers: HashMap::new(),
            touched: Touched { of_table: vec![HashSet::new(); tables.len()] },
            set_aside: 0,
            failed: None,
        }
    }

    fn take(&mut self, decoded: &Decoded<'_>) {
        if self.failed.is_some() || self.ended {
            return;
        }
        if let Err(error) = self.message(decoded) {
            self.failed = Some(error);
        }
    }

    fn message(&mut self, decoded: &Decoded<'_>) -> Result<(), CheckError> {
        let message = touched::read(decoded.bytes, &self.places).map_err(|source| CheckError::Stream { source })?;
        match message {
            Message::Mark { prefix, content } if prefix == MARK => {
                self.begun |= content == self.begin;
                self.ended |= self.begun && content == self.end;
            }
            Message::Relation { oid, relation } => self.relation(oid, &relation)?,
            Message::Truncated { tables } => {
                let number = tables.first().and_then(|oid| self.numbers.get(oid));
                let table = number.map_or_else(|| "a table".to_owned(), |number| self.tables[*number].name.clone());
                mutated!(IgnoreTruncate, Err(CheckError::Truncated { table }), Ok::<(), CheckError>(()))?;
            }
            Message::Touched { table, keys } if self.begun || self.unseen.contains(decoded.transaction) => {
                let number = self.numbers[&table];
                for key in keys {
                    // An old row without its key is the part of a row that its replica identity does not cover.
                    let Some(key) = key.into_iter().collect::<Option<Vec<_>>>() else { continue };
                    if self.touched.of_table[number].insert(Key(key)) {
                        self.set_aside += 1;
                    }
                }
                if self.set_aside > MOST_SET_ASIDE {
                    return Err(CheckError::TooMuchChanged { most: MOST_SET_ASIDE });
                }
            }
            Message::Touched { .. } | Message::Mark { .. } | Message::Other => {}
        }
        Ok(())
    }

    fn relation(&mut self, oid: u32, relation: &Relation) -> Result<(), CheckError> {
        let name = relation.qualified_name();
        let changed = || CheckError::SchemaChanged { side: Side::Primary, table: name.clone() };
        let number = self.tables.iter().position(|table| table.name == name).ok_or_else(changed)?;
        let table = &self.tables[number];
        let is_known = |said: &Column| table.columns.iter().any(|column| column.name == said.name);
        if !relation.columns.iter().all(is_known) || relation.columns.len() != table.columns.len() {
            return Err(changed());
        }
        let place = |name: &String| relation.columns.iter().position(|column| column.name == *name);
        let places = table.key.iter().map(|column| place(&column.name)).collect::<Option<Vec<_>>>();
        self.places.insert(oid, places.ok_or_else(changed)?);
        self.numbers.insert(oid, number);
        Ok(())
    }

    fn conclude(self) -> Result<Touched, CheckError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.ended => Ok(self.touched),
            None => Err(CheckError::NoMark),
        }
    }
}
