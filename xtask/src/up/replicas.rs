//! How many replicas a pair is to have, and what to do about one that has another number.

use std::path::Path;

use anyhow::{bail, ensure};

use crate::postgres::{ReplicaNumber, replicas_on_disk};
use crate::running::RunState;
use crate::terminal::counted;

/// How many replicas are started: as many as asked for, else as many as there are. Fewer than there are is refused: the
/// primary would keep WAL for those that stay behind.
pub(super) fn wanted(asked: Option<u8>, directory: &Path) -> anyhow::Result<u8> {
    let there = replicas_on_disk(directory);
    let Some(asked) = asked else { return Ok(there.max(1)) };
    if asked < there {
        let last = ReplicaNumber::new(there)?;
        bail!(
            "this pair has {}: start them all (leave --replicas out), or start anew with `cargo xtask reset`. To take \
             the last one out while the pair runs: `cargo xtask psql {name} -- -c 'drop subscription {subscription}'`, \
             which gives up its slot on the primary, then `cargo xtask down`, then remove {directory}",
            counted(u64::from(there), "replica"),
            name = last.cluster(),
            subscription = last.subscription(),
            directory = directory.join(last.cluster()).display(),
        );
    }
    Ok(asked)
}

/// Fails where another number is asked for than runs.
pub(super) fn agree_with(asked: Option<u8>, running: &RunState) -> anyhow::Result<()> {
    let there = running.replicas().len();
    ensure!(
        asked.is_none_or(|asked| usize::from(asked) == there),
        "the pair runs already, with {}: stop it with `cargo xtask down`, and call this again",
        counted(there as u64, "replica")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_pair_gets_as_many_replicas_as_asked_for_else_as_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!((wanted(None, path).unwrap(), wanted(Some(2), path).unwrap()), (1, 2), "of a new pair");
        for made in ["replica", "replica-2"] {
            fs::create_dir_all(path.join(made).join("data")).unwrap();
        }
        assert_eq!((wanted(None, path).unwrap(), wanted(Some(2), path).unwrap()), (2, 2));
        assert_eq!(wanted(Some(3), path).unwrap(), 3, "one is added");
    }

    #[test]
    fn fewer_replicas_than_there_are_are_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("replica-2/data")).unwrap();
        let error = wanted(Some(1), directory.path()).unwrap_err().to_string();
        for part in ["2 replicas", "drop subscription tandem_subscription_2", "psql replica-2", "cargo xtask reset"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
