//! What a log says of why its program ended, for an error that a user reads.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use thiserror::Error;

/// How many telling lines are shown: a failure and what led to it, on one screen.
const TELLING_LINES: usize = 12;

/// How many lines are shown of a log in which none is telling.
const LAST_LINES: usize = 5;

/// How much of a log is looked at, from its end.
const READ_BYTES: u64 = 64 * 1024;

/// The levels of our services and of PostgreSQL that tell of trouble, with PostgreSQL's hints on it.
static TELLING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(WARN|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT)\b|panicked at").expect("a constant that parses")
});

/// A program that has a log did not do what it should: why, with its log as the cause.
#[derive(Debug, Error)]
#[error("{reason}")]
pub struct Logged {
    reason: String,
    /// What the log says.
    #[source]
    pub excerpt: Excerpt,
}

/// The log's name and its telling lines; its last ones where none is.
#[derive(Debug, Error)]
#[error("{}:{}", log.display(), indented(lines))]
pub struct Excerpt {
    log: PathBuf,
    lines: Vec<String>,
}

impl Logged {
    /// Reads the telling lines of the log, of what was written from the byte `from` on.
    pub fn new(reason: impl Into<String>, log: &Path, from: u64) -> Logged {
        Logged::with(reason.into(), log, from, excerpt)
    }

    /// The same with every line, as many as fit: PostgreSQL says why it does not start in lines of level LOG.
    pub fn at_start(reason: impl Into<String>, log: &Path, from: u64) -> Logged {
        Logged::with(reason.into(), log, from, |text| last(&text.lines().collect::<Vec<_>>(), TELLING_LINES))
    }

    fn with(reason: String, log: &Path, from: u64, choose: impl Fn(&str) -> Vec<String>) -> Logged {
        let lines = match read(log, from) {
            Ok(text) if text.trim().is_empty() => vec!["(nothing)".to_owned()],
            Ok(text) => choose(text.trim_end()),
            Err(error) => vec![format!("(can't be read: {error})")],
        };
        Logged { reason, excerpt: Excerpt { log: log.to_owned(), lines } }
    }
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}

fn read(log: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(READ_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(READ_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn excerpt(text: &str) -> Vec<String> {
    let all: Vec<&str> = text.lines().collect();
    let telling: Vec<&str> = all.iter().copied().filter(|line| TELLING.is_match(line)).collect();
    let (lines, most) = if telling.is_empty() { (all, LAST_LINES) } else { (telling, TELLING_LINES) };
    last(&lines, most)
}

fn last(lines: &[&str], most: usize) -> Vec<String> {
    lines[lines.len().saturating_sub(most)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn trouble_is_shown_and_the_rest_is_not() {
        let text = "10:00 INFO serving\n10:01 WARN lost the database\n10:02 INFO again\n10:03 ERROR gave up\n";
        assert_eq!(excerpt(text), ["10:01 WARN lost the database", "10:03 ERROR gave up"]);
        let postgres = "[7] LOG:  starting\n[7] FATAL:  no room\n[7] HINT:  make some\n";
        assert_eq!(excerpt(postgres), ["[7] FATAL:  no room", "[7] HINT:  make some"]);
    }

    #[test]
    fn a_log_without_trouble_shows_its_end() {
        let text: String = (0..20).map(|number| format!("INFO {number}\n")).collect();
        assert_eq!(excerpt(&text), ["INFO 15", "INFO 16", "INFO 17", "INFO 18", "INFO 19"]);
    }

    #[test]
    fn what_an_earlier_run_wrote_is_not_shown() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        writeln!(log, "FATAL: of the earlier run").unwrap();
        let from = log.as_file().metadata().unwrap().len();
        writeln!(log, "FATAL: of this run").unwrap();
        let logged = Logged::new("it ended", log.path(), from);
        assert_eq!(logged.to_string(), "it ended");
        let nothing = Logged::new("it ended", log.path(), log.as_file().metadata().unwrap().len());
        assert!(nothing.excerpt.to_string().ends_with("(nothing)"));
        assert_eq!(logged.excerpt.to_string(), format!("{}:\n  FATAL: of this run", log.path().display()));
    }
}
