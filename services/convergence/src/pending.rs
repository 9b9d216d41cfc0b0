//! Rows of which nothing can be said yet.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::differences::Kind;
use crate::key::Key;
use crate::mutation::mutated;

/// In how many fences a row must differ before that is reported.
const FENCES_FOR_A_DIFFERENCE: u32 = 2;

/// What is known of a row.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// In how many fences it differed, without having been touched.
    differed: u32,
}

/// The undecided rows of a table, and what was found of the others.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    rows: BTreeMap<Key, State>,
    /// Every row that was set aside in any fence.
    set_aside: BTreeSet<Key>,
}

impl Pending {
    /// Takes in what the first fence found: rows that were touched in it, and others that differ.
    pub(crate) fn of(touched: &HashSet<Key>, differing: Vec<(Key, Kind)>) -> Self {
        let aside = mutated!(ForgetSetAside, true, false);
        let set_aside: BTreeSet<Key> = touched.iter().filter(|_| aside).cloned().collect();
        let mut rows: BTreeMap<Key, State> = set_aside.iter().map(|key| (key.clone(), State::default())).collect();
        rows.extend(differing.into_iter().map(|(key, _)| (key, State { differed: 1 })));
        Self { rows, set_aside }
    }

    /// Which rows have to be looked at in the next fence.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.rows.keys().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn set_aside(&self) -> usize {
        self.set_aside.len()
    }

    /// How many of the rows that were set aside have been looked at since, and are decided.
    pub(crate) fn rechecked(&self) -> usize {
        self.set_aside.iter().filter(|key| !self.rows.contains_key(key)).count()
    }

    /// Takes in what a further fence found of them. Gives those that have differed often enough.
    pub(crate) fn record(&mut self, touched: &HashSet<Key>, differing: &[(Key, Kind)]) -> Vec<(Key, Kind)> {
        let differing: BTreeMap<&Key, Kind> = differing.iter().map(|(key, kind)| (key, *kind)).collect();
        let mut certain = Vec::new();
        let needed = mutated!(OneFenceIsEnough, FENCES_FOR_A_DIFFERENCE, 1);
        let set_aside = &mut self.set_aside;
        self.rows.retain(|key, state| {
            if touched.contains(key) {
                set_aside.insert(key.clone());
                return true;
            }
            let Some(kind) = differing.get(key) else { return false };
            state.differed += 1;
            if state.differed >= needed {
                certain.push((key.clone(), *kind));
            }
            state.differed < needed
        });
        certain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key(vec![text.to_owned()])
    }

    fn keys(texts: &[&str]) -> HashSet<Key> {
        texts.iter().map(|text| key(text)).collect()
    }

    fn differing(texts: &[&str]) -> Vec<(Key, Kind)> {
        texts.iter().map(|text| (key(text), Kind::Missing)).collect()
    }

    #[test]
    fn a_row_that_differs_in_two_fences_is_certain() {
        let mut pending = Pending::of(&keys(&[]), differing(&["a"]));
        assert_eq!(pending.record(&keys(&[]), &differing(&["a"])), differing(&["a"]));
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn a_row_that_was_set_aside_needs_two_further_fences() {
        let mut pending = Pending::of(&keys(&["a"]), Vec::new());
        assert!(pending.record(&keys(&[]), &differing(&["a"])).is_empty());
        assert_eq!((pending.set_aside(), pending.rechecked()), (1, 0));
        assert_eq!(pending.record(&keys(&[]), &differing(&["a"])), differing(&["a"]));
        assert_eq!((pending.set_aside(), pending.rechecked()), (1, 1));
    }

    #[test]
    fn a_row_that_is_touched_again_stays_and_one_that_is_equal_goes() {
        let mut pending = Pending::of(&keys(&["a", "b"]), differing(&["c"]));
        assert!(pending.record(&keys(&["a"]), &[]).is_empty());
        assert_eq!(pending.keys(), [key("a")]);
        assert_eq!((pending.set_aside(), pending.rechecked()), (2, 1));
    }

    #[test]
    fn a_row_that_differed_and_was_then_touched_is_set_aside_too() {
        let mut pending = Pending::of(&keys(&[]), differing(&["a"]));
        assert!(pending.record(&keys(&["a"]), &differing(&["a"])).is_empty());
        assert_eq!((pending.set_aside(), pending.rechecked(), pending.len()), (1, 0, 1));
    }
}
