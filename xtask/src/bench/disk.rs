//! How fast the disk is during the run: `pg_test_fsync`, as far as its figure for `fdatasync`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::pgbench::program_beside;
use crate::postgres::Installation;

/// Two of its tests of one second, and some time to write its file.
const LIMIT: Duration = Duration::from_secs(60);

/// Writes of 8 kB that reach the disk in a second with `fdatasync`, which is what PostgreSQL does on Linux.
///
/// # Errors
///
/// The program is not there, or does not tell.
pub async fn fdatasyncs_per_second(installation: &Installation, directory: &Path) -> anyhow::Result<f64> {
    let mut command = tokio::process::Command::new(program_beside(installation, "pg_test_fsync")?);
    // On the disk of the databases.
    command.args(["-s", "1", "-f"]).arg(directory.join("fsync_test")).current_dir(directory).env("LC_ALL", "C");
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().context("pg_test_fsync can't be run")?;
    let mut lines = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
    let read = async {
        while let Some(line) = lines.next_line().await? {
            if let Some(figure) = figure(&line) {
                return Ok(figure);
            }
        }
        bail!("pg_test_fsync ended without its figure for fdatasync")
    };
    // The tests that follow take a quarter of a minute and say nothing that is used: it is dropped, and with it killed.
    timeout(LIMIT, read).await.context("pg_test_fsync does not tell its figure for fdatasync")?
}

fn figure(line: &str) -> Option<f64> {
    line.trim().strip_prefix("fdatasync")?.trim().split_once(" ops/sec")?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_stands_behind_the_name() {
        assert_eq!(
            figure("        fdatasync                          6312.345 ops/sec     158 usecs/op"),
            Some(6312.345)
        );
        assert_eq!(figure("        fsync                              12.0 ops/sec     158 usecs/op"), None);
        assert_eq!(figure("        fdatasync                          n/a"), None);
    }
}
