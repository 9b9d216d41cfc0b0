//! Mistakes that tests make the checker make, to see that they notice. Nothing of this is in a program that is built to be
//! used: there, a place that can be mutated holds what is right and nothing else.

#[cfg(test)]
use std::cell::Cell;

/// What is right; in a test that has asked for this mutation, what is wrong.
#[cfg(not(test))]
macro_rules! mutated {
    ($mutation:ident, $right:expr, $wrong:expr) => {
        $right
    };
}

#[cfg(test)]
macro_rules! mutated {
    ($mutation:ident, $right:expr, $wrong:expr) => {
        if $crate::mutation::is($crate::mutation::Mutation::$mutation) { $wrong } else { $right }
    };
}

pub(crate) use mutated;

/// The mistakes.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A range begins behind its first key.
    OpenLowerBound,
    /// A range ends with the first key of the next one.
    ClosedUpperBound,
    /// The first part of a range that is split is not looked at.
    SkipFirstPart,
    /// The last block of a table is not read.
    SkipLastBlock,
    /// Only the first table is read.
    FirstTableOnly,
    /// The last column is not hashed.
    ForgetLastColumn,
    /// A text that is null counts as an empty one.
    NullIsEmpty,
    /// The columns' hashes are summed up and not chained.
    NoChain,
    /// Sums with another number of rows are equal.
    IgnoreCount,
    /// Sums with another hash are equal.
    IgnoreHash,
    /// The row filter is left out.
    FilterNoSide,
    /// What is missing is called extra, and the reverse.
    SwapKinds,
    /// Columns that differ are not named.
    NameNoColumns,
    /// A list that is cut short does not say so.
    HideMore,
    /// A difference is reported after one fence.
    OneFenceIsEnough,
    /// Rows that were touched are compared like others.
    SetNothingAside,
    /// Rows that were set aside are not looked at again.
    ForgetSetAside,
    /// The replica may be anywhere when its snapshot is taken.
    DontWaitForReplica,
    /// TRUNCATE in a fence goes unnoticed.
    IgnoreTruncate,
    /// DDL in a fence goes unnoticed.
    IgnoreSchemaChange,
    /// Time that ran out means equality.
    TimeOutIsEqual,
}

#[cfg(test)]
impl Mutation {
    pub(crate) const ALL: [Self; 21] = [
        Self::OpenLowerBound,
        Self::ClosedUpperBound,
        Self::SkipFirstPart,
        Self::SkipLastBlock,
        Self::FirstTableOnly,
        Self::ForgetLastColumn,
        Self::NullIsEmpty,
        Self::NoChain,
        Self::IgnoreCount,
        Self::IgnoreHash,
        Self::FilterNoSide,
        Self::SwapKinds,
        Self::NameNoColumns,
        Self::HideMore,
        Self::OneFenceIsEnough,
        Self::SetNothingAside,
        Self::ForgetSetAside,
        Self::DontWaitForReplica,
        Self::IgnoreTruncate,
        Self::IgnoreSchemaChange,
        Self::TimeOutIsEqual,
    ];
}

#[cfg(test)]
thread_local! {
    static MUTATION: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Whether this mistake is to be made.
#[cfg(test)]
pub(crate) fn is(mutation: Mutation) -> bool {
    MUTATION.get() == Some(mutation)
}

/// Has the checks of this thread make a mistake, or none.
#[cfg(test)]
pub(crate) fn mutate(mutation: Option<Mutation>) {
    MUTATION.set(mutation);
}
