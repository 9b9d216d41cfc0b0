//! One `up` at a time: a locked file that holds the process id of the one that has it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

use crate::process::{Pid, read_pid_file};

/// Held from the first step of `up` until it returns. The kernel frees it when the process dies.
#[derive(Debug)]
pub struct UpLock {
    _file: File,
}

impl UpLock {
    /// Takes the lock, unless another process has it.
    pub fn take(path: &Path) -> anyhow::Result<Option<UpLock>> {
        let Some(mut file) = try_lock(path)? else { return Ok(None) };
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Some(UpLock { _file: file }))
    }

    /// The process that holds the lock, if one does.
    pub fn holder(path: &Path) -> anyhow::Result<Option<Pid>> {
        if !path.exists() || try_lock(path)?.is_some() {
            return Ok(None);
        }
        Ok(read_pid_file(path))
    }
}

fn try_lock(path: &Path) -> anyhow::Result<Option<File>> {
    let context = || format!("{} can't be locked", path.display());
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.with_context(context)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(context),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Far more than a fork takes, also on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_second_taker_is_told_who_has_it_until_the_first_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("up.lock");
        assert!(UpLock::holder(&path).unwrap().is_none());
        let first = UpLock::take(&path).unwrap();
        assert!(first.is_some());
        assert!(UpLock::take(&path).unwrap().is_none());
        let holder = UpLock::holder(&path).unwrap().unwrap();
        assert_eq!(holder.as_raw_pid().cast_unsigned(), std::process::id());
        drop(first);
        // A program that another test starts at this moment has a copy of the lock between its fork and its exec.
        let deadline = Instant::now() + PATIENCE;
        while UpLock::holder(&path).unwrap().is_some() {
            assert!(Instant::now() < deadline, "the lock is not let go");
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_lets_go_can_take_it_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("up.lock");
        let deadline = Instant::now() + PATIENCE;
        drop(UpLock::take(&path).unwrap().unwrap());
        while UpLock::take(&path).unwrap().is_none() {
            assert!(Instant::now() < deadline, "the lock can't be taken again");
            std::thread::yield_now();
        }
    }
}
