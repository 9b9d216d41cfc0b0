//! What some rows come to, in two numbers.

use std::ops::{AddAssign, SubAssign};

use serde::{Serialize, Serializer};

use crate::mutation::mutated;

/// How many rows, and the sum of their 64-bit hashes. It is a sum and not an XOR because XOR lets two equal rows cancel
/// each other; sums of parts add up to that of the whole, in whatever order they are read.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Sums {
    /// How many rows.
    pub rows: i64,
    /// As decimal text in JSON, which has no integers of this size.
    #[serde(serialize_with = "as_text")]
    pub hash: i128,
}

fn as_text<S: Serializer>(number: &i128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

impl PartialEq for Sums {
    fn eq(&self, other: &Self) -> bool {
        let rows = mutated!(IgnoreCount, self.rows == other.rows, true);
        let hash = mutated!(IgnoreHash, self.hash == other.hash, true);
        rows && hash
    }
}

impl Eq for Sums {}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.hash += other.hash;
    }
}

impl SubAssign for Sums {
    fn sub_assign(&mut self, other: Self) {
        self.rows -= other.rows;
        self.hash -= other.hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_equal_when_both_numbers_are() {
        let sums = |rows, hash| Sums { rows, hash };
        assert_eq!(sums(1, 7), sums(1, 7));
        assert_ne!(sums(1, 7), sums(2, 7));
        assert_ne!(sums(1, 7), sums(1, 8));
    }

    #[test]
    fn what_is_added_and_taken_away_leaves_nothing() {
        let mut sums = Sums { rows: 1, hash: i128::from(i64::MAX) };
        sums += Sums { rows: 2, hash: i128::from(i64::MAX) };
        sums -= Sums { rows: 3, hash: 2 * i128::from(i64::MAX) };
        assert_eq!(sums, Sums::default());
    }
}
