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
