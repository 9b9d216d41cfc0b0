//! Shows the services' logs as they grow, from where they are when the following begins.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use anyhow::Context;

use crate::places::RunDirectory;
use crate::running::{log_file, log_size};
use crate::service::Instance;
use crate::terminal::{dim, progress};

/// How often the logs are read: short enough to feel immediate.
const INTERVAL: Duration = Duration::from_millis(200);

/// How much of a log is read at once. What is more comes in the next round, so memory stays bounded.
const CHUNK_BYTES: u64 = 256 * 1024;

struct Follower {
    instance: Instance,
    file: File,
    rest: Vec<u8>,
}

/// Copies the services' logs to standard error, each line marked with its service. Ends only in an error.
pub(super) async fn follow(
    directory: &RunDirectory,
    services: impl Iterator<Item = Instance>,
) -> anyhow::Result<Infallible> {
    let mut followers = Vec::new();
    for instance in services {
        let path = log_file(directory, instance);
        let mut file = File::open(&path).with_context(|| format!("{} can't be read", path.display()))?;
        file.seek(SeekFrom::Start(log_size(directory, instance)))?;
        followers.push(Follower { instance, file, rest: Vec::new() });
    }
    loop {
        for follower in &mut followers {
            for line in follower.new_lines()? {
                progress(format_args!("{} {line}", dim(&format!("{:>7} │", follower.instance.short_name()))));
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

impl Follower {
    /// The lines that were completed since the last call.
    fn new_lines(&mut self) -> anyhow::Result<Vec<String>> {
        self.file.by_ref().take(CHUNK_BYTES).read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let complete: Vec<u8> = self.rest.drain(..=end).collect();
        Ok(String::from_utf8_lossy(&complete).lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_line_is_shown_once_it_is_complete() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let reader = File::open(file.path()).unwrap();
        let mut follower = Follower { instance: Instance::Command, file: reader, rest: Vec::new() };
        write!(file, "one\ntw").unwrap();
        assert_eq!(follower.new_lines().unwrap(), ["one"]);
        writeln!(file, "o").unwrap();
        assert_eq!(follower.new_lines().unwrap(), ["two"]);
        assert!(follower.new_lines().unwrap().is_empty());
    }
}
