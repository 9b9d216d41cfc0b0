//! What one round says of a table, and when that is enough.

use std::collections::BTreeMap;

use crate::fingerprint::Fingerprint;
use crate::report::{TableReport, Verdict};

/// In how many rounds in a row a table must differ before that is reported. One round can be fooled: a
/// commit is in the log, and so on the replica, before other sessions of the primary see it.
const ROUNDS_FOR_A_DIFFERENCE: u32 = 2;

/// The three fingerprints of one table in one round, in the order in which they were taken.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) primary_before: Fingerprint,
    /// Taken when the replica had applied all that `primary_before` saw.
    pub(crate) replica: Fingerprint,
    /// `None` where the replica already equalled `primary_before`.
    pub(crate) primary_after: Option<Fingerprint>,
}

/// What one round says of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observation {
    Equal,
    Different,
    Undecided,
}

impl Round {
    pub(crate) fn observation(&self) -> Observation {
        if self.replica == self.primary_before || self.primary_after.as_ref() == Some(&self.replica) {
            Observation::Equal
        } else if self.primary_after.as_ref() == Some(&self.primary_before) {
            Observation::Different
        } else {
            Observation::Undecided
        }
    }
}

/// What is known of one table so far.
#[derive(Debug, Default)]
struct Course {
    last: Option<Round>,
    verdict: Option<Verdict>,
    different_in_a_row: u32,
}

/// What is known of all tables so far.
#[derive(Debug)]
pub(crate) struct Rounds {
    courses: BTreeMap<String, Course>,
}

impl Rounds {
    pub(crate) fn of(tables: impl IntoIterator<Item = String>) -> Self {
        Self { courses: tables.into_iter().map(|table| (table, Course::default())).collect() }
    }

    /// Takes in what a round found of one table.
    pub(crate) fn record(&mut self, table: &str, round: Round) {
        let course = self.courses.entry(table.to_owned()).or_default();
        match round.observation() {
            Observation::Equal => course.verdict = Some(Verdict::Equal),
            Observation::Different => course.different_in_a_row += 1,
            Observation::Undecided => course.different_in_a_row = 0,
        }
        if course.different_in_a_row >= ROUNDS_FOR_A_DIFFERENCE {
            course.verdict = Some(Verdict::Different);
        }
        course.last = Some(round);
    }

    /// The tables that need another round.
    pub(crate) fn undecided(&self) -> Vec<String> {
        let open = self.courses.iter().filter(|(_, course)| course.verdict.is_none());
        open.map(|(table, _)| table.clone()).collect()
    }

    /// Whether some table was found different for good.
    pub(crate) fn found_a_difference(&self) -> bool {
        self.courses.values().any(|course| course.verdict == Some(Verdict::Different))
    }

    /// What is known, in the order of the tables' names.
    pub(crate) fn into_tables(self) -> Vec<TableReport> {
        let known = self.courses.into_iter().map(|(table, course)| {
            let verdict = course.verdict.unwrap_or(Verdict::Undecided);
            let (primary, replica) = match course.last {
                // Where a table equals only what the primary held afterwards, that is what it is shown beside.
                Some(Round { replica, .. }) if verdict == Verdict::Equal => (Some(replica.clone()), Some(replica)),
                Some(round) => (round.primary_after.or(Some(round.primary_before)), Some(round.replica)),
                None => (None, None),
            };
            TableReport { table, primary, replica, verdict }
        });
        known.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(rows: u64) -> Fingerprint {
        Fingerprint { rows, sums: BTreeMap::new(), hash: (rows * 31).to_string() }
    }

    fn round(before: u64, replica: u64, after: u64) -> Round {
        Round { primary_before: print(before), replica: print(replica), primary_after: Some(print(after)) }
    }

    fn verdict_after(rounds: impl IntoIterator<Item = Round>) -> Option<Verdict> {
        let mut known = Rounds::of(["t".to_owned()]);
        for round in rounds {
            known.record("t", round);
        }
        known.courses["t"].verdict
    }

    #[test]
    fn a_replica_that_equals_the_primary_before_or_after_is_equal() {
        assert_eq!(round(1, 1, 9).observation(), Observation::Equal);
        assert_eq!(round(1, 9, 9).observation(), Observation::Equal);
        let unneeded = Round { primary_after: None, ..round(1, 1, 1) };
        assert_eq!(unneeded.observation(), Observation::Equal);
    }

    #[test]
    fn a_replica_that_differs_from_a_still_primary_is_different() {
        assert_eq!(round(1, 2, 1).observation(), Observation::Different);
    }

    #[test]
    fn a_replica_that_differs_from_a_changing_primary_is_undecided() {
        assert_eq!(round(1, 2, 3).observation(), Observation::Undecided);
    }

    #[test]
    fn one_differing_round_is_no_verdict_and_two_in_a_row_are() {
        assert_eq!(verdict_after([round(1, 2, 1)]), None);
        assert_eq!(verdict_after([round(1, 2, 1), round(1, 2, 1)]), Some(Verdict::Different));
    }

    #[test]
    fn differing_rounds_with_an_undecided_one_between_are_no_verdict() {
        assert_eq!(verdict_after([round(1, 2, 1), round(1, 2, 3), round(3, 2, 3)]), None);
    }

    #[test]
    fn an_equal_round_after_a_differing_one_is_equal() {
        assert_eq!(verdict_after([round(1, 2, 1), round(2, 2, 2)]), Some(Verdict::Equal));
    }

    #[test]
    fn only_undecided_tables_go_to_the_next_round() {
        let mut known = Rounds::of(["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        known.record("a", round(1, 1, 1));
        known.record("b", round(1, 2, 1));
        assert_eq!(known.undecided(), ["b", "c"]);
        assert!(!known.found_a_difference());
        known.record("b", round(1, 2, 1));
        assert_eq!(known.undecided(), ["c"]);
        assert!(known.found_a_difference());
    }

    #[test]
    fn a_table_with_the_same_rows_but_another_hash_differs() {
        let mut other = round(1, 1, 1);
        other.replica.hash.push('7');
        assert_eq!(other.observation(), Observation::Different);
    }
}
