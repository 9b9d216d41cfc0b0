//! Rows that differ.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::key::Key;
use crate::mutation::mutated;

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The replica lacks it.
    Missing,
    /// Only the replica has it, or has it more often.
    Extra,
    /// Both have it, with other values.
    Different,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
        })
    }
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key, as text; of several columns as a row: `(7,berlin)`.
    pub key: Key,
    /// How it differs.
    pub kind: Kind,
    /// Of a row that both sides have: the columns whose values differ.
    pub columns: Vec<String>,
}

/// Rows that differ between these of the primary and these of the replica, without those that were set aside.
pub(crate) fn between(
    primary: Vec<(Key, i64)>,
    replica: Vec<(Key, i64)>,
    set_aside: &HashSet<Key>,
) -> Vec<(Key, Kind)> {
    let mut rows: BTreeMap<Key, (Vec<i64>, Vec<i64>)> = BTreeMap::new();
    for (key, hash) in primary {
        rows.entry(key).or_default().0.push(hash);
    }
    for (key, hash) in replica {
        rows.entry(key).or_default().1.push(hash);
    }
    let differing = rows.into_iter().filter_map(|(key, (mut primary, mut replica))| {
        primary.sort_unstable();
        replica.sort_unstable();
        if primary == replica || set_aside.contains(&key) {
            return None;
        }
        Some((key, kind(primary.len(), replica.len())))
    });
    differing.collect()
}

/// Where a key is not unique on the replica, a row can be there twice.
fn kind(on_primary: usize, on_replica: usize) -> Kind {
    let (missing, extra) = mutated!(SwapKinds, (Kind::Missing, Kind::Extra), (Kind::Extra, Kind::Missing));
    match on_replica.cmp(&on_primary) {
        std::cmp::Ordering::Less => missing,
        std::cmp::Ordering::Equal => Kind::Different,
        std::cmp::Ordering::Greater => extra,
    }
}

/// Names of the columns whose texts differ.
pub(crate) fn columns(names: &[&str], primary: &[Option<String>], replica: &[Option<String>]) -> Vec<String> {
    let values = names.iter().zip(primary.iter().zip(replica));
    values.filter(|(_, (one, other))| one != other).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key(vec![text.to_owned()])
    }

    fn rows(rows: &[(&str, i64)]) -> Vec<(Key, i64)> {
        rows.iter().map(|(text, hash)| (key(text), *hash)).collect()
    }

    #[test]
    fn missing_extra_and_different_rows_are_told_apart() {
        let found =
            between(rows(&[("a", 1), ("b", 2), ("d", 4)]), rows(&[("d", 4), ("b", 3), ("c", 3)]), &HashSet::new());
        assert_eq!(found, [(key("a"), Kind::Missing), (key("b"), Kind::Different), (key("c"), Kind::Extra)]);
    }

    #[test]
    fn a_row_that_the_replica_has_twice_is_extra() {
        let found = between(rows(&[("a", 1)]), rows(&[("a", 1), ("a", 1)]), &HashSet::new());
        assert_eq!(found, [(key("a"), Kind::Extra)]);
    }

    #[test]
    fn rows_that_were_set_aside_are_no_difference() {
        assert!(between(rows(&[("a", 1)]), rows(&[]), &HashSet::from([key("a")])).is_empty());
    }

    #[test]
    fn columns_are_named_where_null_is_no_empty_text() {
        let text = |text: &str| Some(text.to_owned());
        let found = columns(&["a", "b", "c"], &[text("1"), None, text("")], &[text("1"), text(""), text("")]);
        assert_eq!(found, ["b"]);
    }
}
