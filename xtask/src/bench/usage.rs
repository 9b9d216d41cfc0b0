//! What processes cost: CPU time and peak memory, as `/proc` tells them.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::postgres::Cluster;
use crate::process::{Pid, all_working_in};

/// What a process has used since it began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Of all its threads, in user and kernel mode.
    pub cpu_seconds: f64,
    /// The most memory that was resident at once.
    pub peak_memory_bytes: u64,
}

impl Usage {
    /// Of a process that runs; `None` where it is gone, or the system has no `/proc`.
    pub fn of(process: u32) -> Option<Usage> {
        let ticks = Ticks::of(process)?;
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        Some(Usage { cpu_seconds: seconds(ticks.own), peak_memory_bytes: peak_memory(&status)? })
    }
}

/// CPU time of all processes of a database server, those that have ended included; `None` where the system does not
/// tell. A process that ends between two looks counts once in the main process.
pub fn cluster_cpu_seconds(cluster: &Cluster) -> Option<f64> {
    let ticks = |pid: Pid| Ticks::of(pid.as_raw_pid().unsigned_abs());
    let ended = ticks(cluster.postmaster()?)?.ended_children;
    let alive: u64 = all_working_in(&cluster.data_directory()).into_iter().filter_map(ticks).map(|it| it.own).sum();
    Some(seconds(ended + alive))
}

/// CPU time in the kernel's clock ticks.
#[derive(Debug, PartialEq)]
struct Ticks {
    own: u64,
    ended_children: u64,
}

impl Ticks {
    fn of(process: u32) -> Option<Ticks> {
        Ticks::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// Reads `/proc/…/stat`: the name in parentheses may hold anything, so fields count from the last parenthesis,
    /// behind which the third field of the whole stands first.
    fn parse(stat: &str) -> Option<Ticks> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Ticks { own: field(14)? + field(15)?, ended_children: field(16)? + field(17)? })
    }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn peak_memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_parentheses_and_spaces() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 70 30 5 2 20 0 1 0 100 0 0";
        assert_eq!(Ticks::parse(stat), Some(Ticks { own: 100, ended_children: 7 }));
        assert_eq!(Ticks::parse("42 (short) S 1"), None);
    }

    #[test]
    fn peak_memory_is_told_in_bytes() {
        assert_eq!(peak_memory("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2_097_152));
        assert_eq!(peak_memory("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_works_is_seen_working() {
        let before = Usage::of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while Usage::of(std::process::id()).unwrap().cpu_seconds < before.cpu_seconds + 0.03 {
            (0..100_000).for_each(|number: u64| sum = std::hint::black_box(sum.wrapping_add(number)));
        }
        assert!(before.peak_memory_bytes > 0);
    }
}
