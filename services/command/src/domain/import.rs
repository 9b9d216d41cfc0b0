//! An import: numbered rows, what becomes of each, and a hash over all of them.

use std::borrow::Cow;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::fault::Violation;

/// Refused rows of one import. A source with more is not the one that was meant, and their reports would only pile up.
pub const MAX_REFUSED: i64 = 10_000;
/// Rows of one import: so many of the largest sales still add up to what the wire's money can hold.
pub const MAX_ROWS: i64 = 500_000_000;
/// Fields that one refused row names, as in the details of an error.
const MAX_FIELDS: usize = 20;
/// Where callers' rows stand in the messages that the checks of a sale know.
const SALE: &str = "transaction.";

/// A hash over the content of all rows up to one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Before the first row.
    pub const START: Self = Self([0; 32]);

    /// The hash up to the next row, whose content this is: SHA-256 of this hash and the content.
    #[must_use]
    pub fn then(self, content: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(content).finalize().into())
    }

    /// The hash that was stored; `None` for another number of bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// How far an import has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    /// The last row that is durable or refused.
    pub last_row_number: i64,
    /// Stored sales.
    pub rows_written: i64,
    /// Their items.
    pub items_written: i64,
    /// Refused sales.
    pub rows_refused: i64,
    /// Of the stored sales.
    pub total_amount: Decimal,
    /// Of the stored sales.
    pub total_discount: Decimal,
    /// Over all rows up to the last.
    pub content_hash: ContentHash,
}

impl Progress {
    /// Before the first row.
    pub const START: Self = Self {
        last_row_number: 0,
        rows_written: 0,
        items_written: 0,
        rows_refused: 0,
        total_amount: Decimal::ZERO,
        total_discount: Decimal::ZERO,
        content_hash: ContentHash::START,
    };
}

/// A row that is not stored, as it is reported.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Its number.
    pub row_number: i64,
    /// Stable, for programs.
    pub reason: Cow<'static, str>,
    /// What is wrong with each field.
    pub fields: Vec<RefusedField>,
}

/// A wrong field of a refused row. Stored as JSON, so a field that is added later needs a default.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RefusedField {
    /// Its path in the sale.
    pub field: String,
    /// Stable, for programs.
    pub reason: Cow<'static, str>,
    /// For people.
    pub description: String,
}

impl Refusal {
    /// Why a row is refused; without a violation it is the database that refuses it.
    pub fn new(row_number: i64, violations: &[Violation]) -> Self {
        let reason = if violations.is_empty() { "REFUSED_BY_DATABASE" } else { "INVALID_FIELDS" };
        let field = |Violation { field, fault }: &Violation| RefusedField {
            field: in_sale(field).to_owned(),
            reason: fault.reason().into(),
            description: fault.to_string(),
        };
        Self { row_number, reason: reason.into(), fields: violations.iter().take(MAX_FIELDS).map(field).collect() }
    }
}

/// The path of a field in its sale, out of its path in a request that holds the sale.
pub fn in_sale(field: &str) -> &str {
    field.strip_prefix(SALE).unwrap_or(field)
}

/// Why a row can't be taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SequenceError {
    /// A row is missing.
    #[error("row {expected} was expected, or an earlier one, and row {found} came")]
    Gap {
        /// The next row.
        expected: i64,
        /// What came.
        found: i64,
    },
    /// A row above [`MAX_ROWS`].
    #[error("an import has at most {MAX_ROWS} rows")]
    TooLong,
    /// All rows up to the durable one were sent again, and are not what they were.
    #[error("the rows that are durable had another content")]
    ContentChanged,
}

/// What is to be done with a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// Nothing: it came before.
    Nothing,
    /// Only its content, to be compared: it came before.
    Content,
    /// All of it.
    Row,
}

/// The numbers of an import's rows, as one stream sends them.
#[derive(Clone, Debug)]
pub struct Sequence {
    durable: i64,
    durable_hash: ContentHash,
    /// The last row that is taken.
    last: i64,
    hash: ContentHash,
    /// Of the durable rows that are sent again, from the first without a gap: the last, and the hash up to it.
    resent: (i64, ContentHash),
}

impl Sequence {
    /// Goes on behind what is durable.
    pub const fn behind(progress: &Progress) -> Self {
        let (durable, durable_hash) = (progress.last_row_number, progress.content_hash);
        Self { durable, durable_hash, last: durable, hash: durable_hash, resent: (0, ContentHash::START) }
    }

    /// The last row that is taken, and the hash up to it.
    pub const fn last(&self) -> (i64, ContentHash) {
        (self.last, self.hash)
    }

    /// Whether rows from `first` on can follow: none may be left out.
    pub fn check(&self, first: i64, count: usize) -> Result<(), SequenceError> {
        let expected = self.last + 1;
        if !(1..=expected).contains(&first) {
            return Err(SequenceError::Gap { expected, found: first });
        }
        let behind = i64::try_from(count).ok().and_then(|count| first.checked_add(count));
        if behind.is_some_and(|behind| behind <= MAX_ROWS + 1) { Ok(()) } else { Err(SequenceError::TooLong) }
    }

    /// Whether these are all the rows of the import.
    pub const fn check_end(&self, last: i64) -> Result<(), SequenceError> {
        if last == self.last { Ok(()) } else { Err(SequenceError::Gap { expected: self.last + 1, found: last }) }
    }

    /// What is to be done with a row.
    pub const fn wanted(&self, number: i64) -> Wanted {
        if number > self.last {
            Wanted::Row
        } else if number <= self.durable && number == self.resent.0 + 1 {
            Wanted::Content
        } else {
            Wanted::Nothing
        }
    }

    /// Takes the content of a row that is wanted.
    pub fn take(&mut self, number: i64, content: &[u8]) -> Result<(), SequenceError> {
        if number > self.last {
            (self.last, self.hash) = (number, self.hash.then(content));
            return Ok(());
        }
        self.resent = (number, self.resent.1.then(content));
        if number == self.durable && self.resent.1 != self.durable_hash {
            return Err(SequenceError::ContentChanged);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(rows: &[&str]) -> Sequence {
        let hash = rows.iter().fold(ContentHash::START, |hash, row| hash.then(row.as_bytes()));
        let last_row_number = i64::try_from(rows.len()).unwrap();
        Sequence::behind(&Progress { last_row_number, content_hash: hash, ..Progress::START })
    }

    fn resend(sequence: &mut Sequence, rows: &[&str]) -> Result<Vec<Wanted>, SequenceError> {
        let mut wanted = Vec::new();
        for (number, row) in (1..).zip(rows) {
            wanted.push(sequence.wanted(number));
            if sequence.wanted(number) != Wanted::Nothing {
                sequence.take(number, row.as_bytes())?;
            }
        }
        Ok(wanted)
    }

    #[test]
    fn no_row_may_be_left_out_and_any_earlier_one_may_come_again() {
        let sequence = sequence(&["a", "b"]);
        for first in [1, 2, 3] {
            assert_eq!(sequence.check(first, 5), Ok(()), "{first}");
        }
        for first in [4, 0, -1, i64::MAX, i64::MIN] {
            assert_eq!(sequence.check(first, 5), Err(SequenceError::Gap { expected: 3, found: first }));
        }
    }

    #[test]
    fn an_import_ends_with_the_row_that_came_last() {
        assert_eq!(sequence(&["a"]).check_end(1), Ok(()));
        assert_eq!(sequence(&["a"]).check_end(2), Err(SequenceError::Gap { expected: 2, found: 2 }));
        assert!(sequence(&["a"]).check_end(0).is_err());
    }

    #[test]
    fn an_import_has_an_end() {
        let full = Progress { last_row_number: MAX_ROWS - 1, ..Progress::START };
        let sequence = Sequence::behind(&full);
        assert_eq!(sequence.check(MAX_ROWS, 1), Ok(()));
        assert_eq!(sequence.check(MAX_ROWS, 2), Err(SequenceError::TooLong));
    }

    #[test]
    fn rows_that_are_sent_again_from_the_first_are_compared_up_to_the_durable_one() {
        use Wanted::{Content, Row};
        let mut same = sequence(&["a", "b"]);
        assert_eq!(resend(&mut same, &["a", "b", "c"]), Ok(vec![Content, Content, Row]));
        assert_eq!(same.last(), sequence(&["a", "b", "c"]).last());
        assert_eq!(resend(&mut sequence(&["a", "b"]), &["a", "x", "c"]), Err(SequenceError::ContentChanged));
        assert_eq!(resend(&mut sequence(&["a", "b"]), &["x", "b"]), Err(SequenceError::ContentChanged));
    }

    #[test]
    fn rows_that_are_sent_again_from_a_later_one_are_passed_over() {
        let mut sequence = sequence(&["a", "b", "c"]);
        assert_eq!(sequence.wanted(2), Wanted::Nothing);
        assert_eq!(sequence.wanted(4), Wanted::Row);
        sequence.take(4, b"d").unwrap();
        assert_eq!(sequence.wanted(4), Wanted::Nothing);
    }

    #[test]
    fn the_hash_is_chained_from_32_zero_bytes() {
        let first: [u8; 32] = Sha256::digest([[0_u8; 32].as_slice(), b"a"].concat()).into();
        assert_eq!(ContentHash::START.then(b"a").as_bytes(), &first);
    }

    #[test]
    fn a_refused_row_names_its_fields_as_the_sale_has_them() {
        use crate::domain::Fault;
        let refusal = Refusal::new(7, &[Violation::new("transaction.items[0].quantity", Fault::Missing)]);
        assert_eq!(
            (refusal.reason.as_ref(), refusal.fields[0].field.as_str()),
            ("INVALID_FIELDS", "items[0].quantity")
        );
        assert_eq!(Refusal::new(7, &[]).reason, "REFUSED_BY_DATABASE");
        assert_eq!(Refusal::new(7, &vec![Violation::new("x", Fault::Missing); 50]).fields.len(), MAX_FIELDS);
    }
}
