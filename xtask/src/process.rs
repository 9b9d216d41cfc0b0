//! Processes by their id: who is it, is it alive, signal it, wait until it is gone.
//!
//! An id that was read from a file may belong to somebody else by now, so nothing here is signalled before
//! its working directory or its command line has been looked at.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
pub use rustix::process::{Pid, Signal};
use rustix::process::{kill_process, test_kill_process};
use tokio::time::Instant;

/// How often a wait looks again. Short against the tens of milliseconds that stopping takes at least.
pub const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// The process id on the first line of a file; `None` when there is no such file or no id in it.
pub fn read_pid_file(path: &Path) -> Option<Pid> {
    let text = fs::read_to_string(path).ok()?;
    let number = text.lines().next()?.trim().parse().ok()?;
    Pid::from_raw(number)
}

/// Whether any process, ours or not, has this id. A zombie has one too.
pub fn exists(pid: Pid) -> bool {
    !matches!(test_kill_process(pid), Err(Errno::SRCH))
}

/// Sends a signal. A process that is gone already is no error.
pub fn signal(pid: Pid, signal: Signal) -> io::Result<()> {
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The command line, arguments separated by spaces; `None` when the process is gone or a zombie.
pub fn command_line(pid: Pid) -> Option<String> {
    let raw = pid.as_raw_pid();
    if has_proc() {
        let bytes = fs::read(format!("/proc/{raw}/cmdline")).ok()?;
        let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
        return Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    }
    let output = Command::new("ps").args(["-o", "stat=,args=", "-p", &raw.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (state, arguments) = text.split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| arguments.trim().to_owned())
}

/// Whether the process is alive and works in this directory. Where the system does not tell (no `/proc`),
/// whether its command line names the directory.
pub fn works_in(pid: Pid, directory: &Path) -> bool {
    if has_proc() {
        return working_directory(pid).is_some_and(|found| found == directory);
    }
    command_line(pid).is_some_and(|line| line.contains(&*directory.to_string_lossy()))
}

/// Every live process that works in this directory. Always empty where there is no `/proc`.
pub fn all_working_in(directory: &Path) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| working_directory(*pid).is_some_and(|found| found == directory))
        .collect()
}

/// Waits until `alive` says no. `false` when it still says yes after `limit`.
pub async fn wait_until_gone(limit: Duration, alive: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while alive() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    true
}

fn working_directory(pid: Pid) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{}/cwd", pid.as_raw_pid())).ok()
}

fn has_proc() -> bool {
    Path::new("/proc/self/cwd").exists()
}
