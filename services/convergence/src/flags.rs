//! What `tandem-verify` and `cargo xtask verify` can be told alike.

use std::time::Duration;

use clap::ValueEnum;

use crate::options::Options;

/// What a check can be told.
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,

    /// Seconds between two looks at rows that have no verdict yet.
    #[arg(long, default_value_t = Options::default().interval.as_secs_f64(), value_parser = seconds)]
    pub interval: f64,

    /// Rows of a range that are compared one by one; a larger one that differs is split.
    #[arg(long, value_name = "ROWS", default_value_t = Options::default().range_size,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub range_size: u32,

    /// Connections that read each side at once: more are faster, and take more from those who write.
    #[arg(long, value_name = "CONNECTIONS", default_value_t = Options::default().parallel,
        value_parser = clap::value_parser!(u8).range(1..=16))]
    pub parallel: u8,

    /// Where somebody writes meanwhile, rest so many times as long as was read; 0 reads as fast as it can.
    #[arg(long, value_name = "TIMES", default_value_t = Options::default().rest, value_parser = times)]
    pub rest: f64,

    /// List so many differences of each table at most; the search in a table ends with them.
    #[arg(long, value_name = "ROWS", default_value_t = Options::default().differences)]
    pub differences: usize,

    /// Compare only the sales of this batch, with their items; a batch that goes on is waited for.
    #[arg(long, value_name = "BATCH", conflicts_with = "sample")]
    pub batch_id: Option<String>,

    /// Compare about so many rows of each table, in stretches that begin anywhere, and say how much that was: a quick
    /// look at huge tables. Rollups are left out.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub sample: Option<u64>,

    /// Say what would mend the replica; with --yes, mend it from the primary, beside the apply worker, and verify again.
    #[arg(long, conflicts_with = "sample")]
    pub repair: bool,

    /// Carry out what --repair says, without asking.
    #[arg(long, requires = "repair")]
    pub yes: bool,

    /// Leave out the replica's rollups, which take longer than the tables.
    #[arg(long)]
    pub skip_rollups: bool,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people.
    Text,
    /// One JSON object.
    Json,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is no number of seconds"))?;
    if (0.0..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("from 0 to 86400 seconds".to_owned()) }
}

fn times(text: &str) -> Result<f64, String> {
    let times: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if (0.0..=100.0).contains(&times) { Ok(times) } else { Err("from 0 to 100 times".to_owned()) }
}

impl Flags {
    /// As the library takes them.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            timeout: Duration::from_secs(self.timeout),
            interval: Duration::from_secs_f64(self.interval),
            rollups: !self.skip_rollups && self.sample.is_none(),
            range_size: self.range_size,
            parallel: self.parallel,
            rest: self.rest,
            differences: self.differences,
            batch_id: self.batch_id.clone(),
            sample: self.sample,
            ..Options::default()
        }
    }
}
