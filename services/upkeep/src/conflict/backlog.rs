//! What the changes that wait to be applied do to keys.

use std::collections::HashMap;

use tandem_replication::{Cell, Change, Lsn, Relation, Row, What};

use crate::table::Table;

/// A primary key, each value as text.
pub(crate) type Key = Vec<String>;

/// A row that is to be put in, and might not find its place free.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// How many changes of the backlog come before it.
    pub(crate) ordinal: usize,
    pub(crate) commit_lsn: Lsn,
    /// Its columns with their values.
    pub(crate) values: Vec<(String, Cell)>,
    /// Whether its primary key is new, so that even a row of this key is in its way.
    pub(crate) is_new: bool,
    key: Key,
}

impl Arrival {
    /// The values of some of its columns; `None` where one is absent or null, which no unique index minds.
    pub(crate) fn values_of(&self, columns: &[String]) -> Option<Key> {
        let value = |column| self.values.iter().find(|(name, _)| name == column).and_then(|(_, cell)| cell.text());
        columns.iter().map(|column| value(column).map(str::to_owned)).collect()
    }
}

/// The changes of one table that come before others.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Which change was the first to touch a key.
    keys: HashMap<Key, usize>,
    truncated: Option<usize>,
}

impl Touched {
    /// Takes a change in, and gives the row that it puts in.
    pub(crate) fn take(&mut self, ordinal: usize, change: &Change, table: &Table) -> Option<Arrival> {
        let key_of = |row: &Row| key(&change.relation, row, &table.primary_key);
        let (old, new) = match &change.what {
            What::Insert(new) => (None, Some(new)),
            What::Update { old, new } => (old.as_ref().or(Some(new)), Some(new)),
            What::Delete(old) => (Some(old), None),
            What::Truncate => {
                self.truncated.get_or_insert(ordinal);
                (None, None)
            }
        };
        let (old, new_key) = (old.and_then(key_of), new.and_then(key_of));
        for key in old.iter().chain(&new_key) {
            self.keys.entry(key.clone()).or_insert(ordinal);
        }
        let key = new_key?;
        let names = change.relation.columns.iter().map(|column| column.name.clone());
        let values = names.zip(new?.iter().cloned()).collect();
        let is_new = old.as_ref() != Some(&key);
        Some(Arrival { ordinal, commit_lsn: change.commit_lsn, values, is_new, key })
    }

    /// Whether a row of the replica with this primary key is there when the arrival comes, and is not the arrival's own.
    pub(crate) fn is_in_the_way(&self, arrival: &Arrival, found: &Key) -> bool {
        if self.truncated.is_some_and(|ordinal| ordinal < arrival.ordinal) {
            return false;
        }
        match self.keys.get(found) {
            None => true,
            Some(first) if *first == arrival.ordinal => arrival.is_new && arrival.key == *found,
            Some(first) => *first > arrival.ordinal,
        }
    }
}

fn key(relation: &Relation, row: &Row, primary_key: &[String]) -> Option<Key> {
    let value = |wanted: &String| {
        let place = relation.columns.iter().position(|column| column.name == *wanted)?;
        row.get(place)?.text().map(str::to_owned)
    };
    if primary_key.is_empty() { None } else { primary_key.iter().map(value).collect() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tandem_replication::Column;

    use super::*;

    fn table() -> Table {
        Table {
            oid: 1,
            schema: "s".to_owned(),
            name: "t".to_owned(),
            columns: vec![("id".to_owned(), "integer".to_owned())],
            primary_key: vec!["id".to_owned()],
            unique: Vec::new(),
        }
    }

    fn row(id: &str) -> Row {
        vec![Cell::Text(id.to_owned())]
    }

    fn change(what: What) -> Change {
        let columns = vec![Column { name: "id".to_owned(), is_key: true }];
        let relation = Arc::new(Relation { schema: "s".to_owned(), name: "t".to_owned(), columns });
        Change { commit_lsn: Lsn::new(1), relation, what }
    }

    /// Whether a row `id` of the replica is in the way of the last of these changes.
    fn in_the_way(changes: Vec<What>, id: &str) -> bool {
        let mut touched = Touched::default();
        let mut last = None;
        for (ordinal, what) in changes.into_iter().enumerate() {
            last = touched.take(ordinal, &change(what), &table());
        }
        touched.is_in_the_way(&last.expect("the last change puts a row in"), &vec![id.to_owned()])
    }

    #[test]
    fn a_row_that_nothing_in_the_backlog_took_away_is_in_the_way_of_an_insert() {
        assert!(in_the_way(vec![What::Insert(row("1"))], "1"));
        assert!(!in_the_way(vec![What::Delete(row("1")), What::Insert(row("1"))], "1"));
        assert!(!in_the_way(vec![What::Truncate, What::Insert(row("1"))], "1"));
        let renamed = What::Update { old: Some(row("1")), new: row("2") };
        assert!(!in_the_way(vec![renamed, What::Insert(row("1"))], "1"));
    }

    #[test]
    fn a_row_is_in_the_way_of_a_new_key_and_not_of_its_own_update() {
        assert!(in_the_way(vec![What::Update { old: Some(row("1")), new: row("2") }], "2"));
        assert!(!in_the_way(vec![What::Update { old: None, new: row("1") }], "1"));
        assert!(!in_the_way(vec![What::Update { old: Some(row("1")), new: row("2") }], "1"));
    }

    #[test]
    fn another_row_that_takes_the_same_place_in_a_unique_index_is_in_the_way_of_an_update() {
        assert!(in_the_way(vec![What::Update { old: None, new: row("1") }], "7"));
    }
}
