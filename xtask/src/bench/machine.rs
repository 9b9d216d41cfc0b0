//! What a figure was measured on: machine, versions, commit, settings.

use std::fs;
use std::process::Command;

use serde::Serialize;
use serde_json::Value;

use crate::places::workspace_root;
use crate::postgres::Version;

/// What a figure was measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// When the run began, UTC.
    pub started_at: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// As the processor calls itself; absent where the system does not tell.
    pub cpu_model: Option<String>,
    /// Of the whole machine; absent where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// Processes that wanted to run, over the minute before the run, builds not included:
    /// what neighbours did.
    pub load_before: Option<f64>,
    /// The kernel's name and release.
    pub system: Option<String>,
    /// Of PostgreSQL, of Tandem, of the compiler, of pgbench.
    pub versions: Versions,
    /// The commit that was built, with `-dirty` where files differ from it.
    pub commit: Option<String>,
    /// `release` or `dev`; `given` where programs were not built by this run, and the commit need not be theirs.
    pub profile: &'static str,
    /// Writes of 8 kB that reached the disk in a second with `fdatasync`, during this run (`pg_test_fsync`).
    pub fdatasyncs_per_second: f64,
    /// How the run was asked for.
    pub settings: Value,
}

/// Versions.
#[derive(Debug, Clone, Serialize)]
pub struct Versions {
    /// Of both servers.
    pub postgresql: String,
    /// As it tells it.
    pub pgbench: Option<String>,
    /// Of the workspace.
    pub tandem: &'static str,
    /// As it tells it.
    pub rustc: Option<String>,
}

/// What depends on the run and not on the machine.
#[derive(Debug)]
pub struct Run {
    /// Of both servers.
    pub postgresql: Version,
    /// What `pgbench --version` says.
    pub pgbench: Option<String>,
    /// How programs were built.
    pub profile: &'static str,
    /// See [`load`].
    pub load_before: Option<f64>,
    /// What the disk did.
    pub fdatasyncs_per_second: f64,
    /// How the run was asked for.
    pub settings: Value,
}

impl Machine {
    /// Looks around.
    pub fn of(run: Run) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            started_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_model: field(&read("/proc/cpuinfo"), "model name").map(str::to_owned),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal").and_then(bytes),
            load_before: run.load_before,
            system: said("uname", &["-sr"]),
            versions: Versions {
                postgresql: run.postgresql.to_string(),
                pgbench: run.pgbench,
                tandem: env!("CARGO_PKG_VERSION"),
                rustc: said("rustc", &["--version"]),
            },
            commit: said("git", &["describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]),
            profile: run.profile,
            fdatasyncs_per_second: run.fdatasyncs_per_second,
            settings: run.settings,
        }
    }
}

/// Processes that wanted to run, over the last minute.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// What a program prints on one line; `None` where it can't be run or fails: a machine without git still measures.
pub fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(workspace_root()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name)?;
    Some(value.trim())
}

fn bytes(kibibytes: &str) -> Option<u64> {
    Some(kibibytes.strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_kernel_are_found_by_their_names() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz: fast\nMemTotal:       1024 kB\n";
        assert_eq!(field(text, "model name"), Some("Some CPU @ 2 GHz: fast"));
        assert_eq!(field(text, "MemTotal").and_then(bytes), Some(1_048_576));
        assert_eq!(field(text, "MemFree"), None);
    }
}
