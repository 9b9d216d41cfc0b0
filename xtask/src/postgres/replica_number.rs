//! Which replica of a pair, and every name that follows from it.

use std::fmt::{self, Display};

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use tandem_replication::SUBSCRIPTION;

/// A replica of a pair, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaNumber(u8);

/// Directory and label of each cluster: the first keeps the names that it has where it is the only one.
const CLUSTERS: [&str; ReplicaNumber::MOST as usize] = ["replica", "replica-2", "replica-3", "replica-4"];

/// Log and label of each query service.
const QUERY_SERVICES: [&str; ReplicaNumber::MOST as usize] = ["query", "query-2", "query-3", "query-4"];

impl ReplicaNumber {
    /// The one that every pair has.
    pub const FIRST: ReplicaNumber = ReplicaNumber(1);

    /// How many replicas a pair can have: a laptop carries their servers, and the primary has slots and walsenders for
    /// each with the two that copy its tables.
    pub const MOST: u8 = 4;

    /// The replica of this number, 1 to [`ReplicaNumber::MOST`].
    pub fn new(number: u8) -> anyhow::Result<ReplicaNumber> {
        ensure!((1..=Self::MOST).contains(&number), "there is no replica {number}: a pair has 1 to {}", Self::MOST);
        Ok(ReplicaNumber(number))
    }

    /// The first so many; at least one, at most [`ReplicaNumber::MOST`].
    pub fn first(count: u8) -> impl DoubleEndedIterator<Item = ReplicaNumber> + Clone {
        (1..=count.clamp(1, Self::MOST)).map(ReplicaNumber)
    }

    /// Every one that there can be.
    pub fn all() -> impl DoubleEndedIterator<Item = ReplicaNumber> + Clone {
        Self::first(Self::MOST)
    }

    /// 1 for the first.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Its place in a list that begins with the first.
    pub fn index(self) -> usize {
        usize::from(self.0 - 1)
    }

    /// The name that its answers carry: `replica-1`, `replica-2`, …
    pub fn name(self) -> String {
        format!("replica-{}", self.0)
    }

    /// Its subscription and its slot: `tandem_subscription`, `tandem_subscription_2`, …
    pub fn subscription(self) -> String {
        match self.0 {
            1 => SUBSCRIPTION.to_owned(),
            number => format!("{SUBSCRIPTION}_{number}"),
        }
    }

    /// Its cluster, on disk and for people: `replica`, `replica-2`, …
    pub fn cluster(self) -> &'static str {
        CLUSTERS[self.index()]
    }

    /// Its query service, on disk and for people: `query`, `query-2`, …
    pub fn query_service(self) -> &'static str {
        QUERY_SERVICES[self.index()]
    }
}

impl Display for ReplicaNumber {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_replicas_share_a_name_and_the_first_has_the_one_that_services_default_to() {
        let names: [fn(ReplicaNumber) -> String; 4] = [
            ReplicaNumber::name,
            ReplicaNumber::subscription,
            |number| number.cluster().to_owned(),
            |number| number.query_service().to_owned(),
        ];
        for name in names {
            let names: BTreeSet<String> = ReplicaNumber::all().map(name).collect();
            assert_eq!(names.len(), usize::from(ReplicaNumber::MOST), "{names:?}");
        }
        let first = ReplicaNumber::FIRST;
        assert_eq!((first.name().as_str(), first.subscription().as_str()), ("replica-1", SUBSCRIPTION));
        assert_eq!((first.cluster(), first.query_service()), ("replica", "query"), "as pairs on disk have it");
    }

    #[test]
    fn a_number_that_no_replica_has_is_refused() {
        for wrong in [0, ReplicaNumber::MOST + 1] {
            assert!(ReplicaNumber::new(wrong).unwrap_err().to_string().contains("1 to 4"));
        }
    }
}
