//! Keys of rows, and ranges of them.

use std::fmt;

use serde::{Serialize, Serializer};

/// The key of a row: the text of each of its columns, as PostgreSQL writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub(crate) Vec<String>);

/// One column as it is, several as a row: `(7,berlin)`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => f.write_str(only),
            several => write!(f, "({})", several.join(",")),
        }
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Keys from one on, up to and without another; without a bound, all on that side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) from: Option<Key>,
    pub(crate) until: Option<Key>,
}

impl KeyRange {
    /// Every key.
    pub(crate) const ALL: Self = Self { from: None, until: None };

    /// Cuts the range at each of these keys, which lie in it in their order: each begins a new range.
    pub(crate) fn cut(self, at: Vec<Key>) -> Vec<Self> {
        let ends = at.iter().cloned().map(Some).chain([self.until]);
        let starts = [self.from].into_iter().chain(at.iter().cloned().map(Some));
        starts.zip(ends).map(|(from, until)| Self { from, until }).collect()
    }
}

/// Keys column by column, as `unnest` takes them.
pub(crate) fn by_column<'a>(keys: impl IntoIterator<Item = &'a Key>, columns: usize) -> Vec<Vec<String>> {
    let mut by_column = vec![Vec::new(); columns];
    for key in keys {
        for (column, value) in by_column.iter_mut().zip(&key.0) {
            column.push(value.clone());
        }
    }
    by_column
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key(vec![text.to_owned()])
    }

    #[test]
    fn a_range_that_is_cut_has_no_gap_and_no_overlap() {
        let range = KeyRange { from: Some(key("a")), until: None };
        let cut = range.cut(vec![key("f"), key("m")]);
        let bounds: Vec<_> = cut.iter().map(|range| (range.from.clone(), range.until.clone())).collect();
        assert_eq!(
            bounds,
            [(Some(key("a")), Some(key("f"))), (Some(key("f")), Some(key("m"))), (Some(key("m")), None)]
        );
    }

    #[test]
    fn a_key_of_one_column_is_its_value_and_one_of_several_is_a_row() {
        assert_eq!(serde_json::to_value(key("7")).unwrap(), "7");
        assert_eq!(Key(vec!["7".to_owned(), "b".to_owned()]).to_string(), "(7,b)");
    }

    #[test]
    fn keys_go_to_the_database_column_by_column() {
        let keys = [Key(vec!["1".to_owned(), "a".to_owned()]), Key(vec!["2".to_owned(), "b".to_owned()])];
        assert_eq!(by_column(&keys, 2), [["1", "2"], ["a", "b"]]);
    }
}
