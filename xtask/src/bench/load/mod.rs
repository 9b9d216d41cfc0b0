//! The load generator: gRPC callers that create sales, one by one, in a process of its own.
//!
//! A closed loop finds the highest rate: each caller sends its next command when the last is answered. An open loop
//! finds latencies: commands have times at which they are meant to be sent, whether earlier ones are answered or not,
//! and are measured from then.

mod call;
mod closed;
mod open;
mod process;
pub mod reads;
mod sale;
mod tally;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

pub use call::CALL_TIMEOUT;
pub use process::Generator;
pub use sale::{CASHIERS, CUSTOMERS, LINES, MOST_PIECES, PAYMENT_METHOD, Requests, STORE_THAT_IS_REFUSED, STORES};
pub use tally::Tally;

/// How the generator works: by these flags it is called as a process.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct Args {
    /// The command service.
    #[arg(long)]
    pub address: SocketAddr,
    /// How many callers there are; with a rate, how many commands may be under way at once.
    #[arg(long)]
    pub callers: NonZeroU32,
    /// Over how many HTTP/2 connections they go, each of which belongs to one thread.
    #[arg(long)]
    pub connections: NonZeroU32,
    /// How many threads work.
    #[arg(long)]
    pub threads: NonZeroU32,
    /// For how long commands are sent; those that are under way then are awaited.
    #[arg(long)]
    pub seconds: NonZeroU32,
    /// Of a hundred commands, how many only the database can refuse.
    #[arg(long, default_value_t = 0)]
    pub refused_percent: u32,
    /// Commands a second that are meant to be sent, at random times: an open loop.
    #[arg(long)]
    pub rate: Option<f64>,
}

impl Args {
    /// The same as words of a command line.
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut push = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
        push("--address", self.address.to_string());
        push("--callers", self.callers.to_string());
        push("--connections", self.connections.to_string());
        push("--threads", self.threads.to_string());
        push("--seconds", self.seconds.to_string());
        push("--refused-percent", self.refused_percent.to_string());
        if let Some(rate) = self.rate {
            push("--rate", rate.to_string());
        }
        words
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds.get()))
    }
}

/// Generates load and prints the tally as JSON.
///
/// # Errors
///
/// The service can't be reached. That it answers wrongly is in the tally.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let args = args.clone();
    // Its threads have runtimes of their own: one core's work each, without tasks that wander between cores.
    let tally = tokio::task::spawn_blocking(move || generate(&args)).await.context("the generator panicked")??;
    println!("{}", serde_json::to_string(&tally)?);
    Ok(ExitCode::SUCCESS)
}

fn generate(args: &Args) -> anyhow::Result<Tally> {
    let mut tally = match args.rate {
        None => closed::generate(args)?,
        Some(rate) => open::generate(args, rate)?,
    };
    tally.usage = super::usage::Usage::of(std::process::id());
    Ok(tally)
}

/// How many of `all` the part of this number (from 0) gets where all parts get about the same.
fn share(all: u32, parts: u32, number: u32) -> u32 {
    all / parts + u32::from(number < all % parts)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_words_of_a_command_line_mean_the_same_to_the_process() {
        let some = |number| NonZeroU32::new(number).unwrap();
        for rate in [None, Some(1234.5)] {
            let args = Args {
                address: "127.0.0.1:50051".parse().unwrap(),
                callers: some(256),
                connections: some(4),
                threads: some(2),
                seconds: some(5),
                refused_percent: 1,
                rate,
            };
            let words = std::iter::once("generate".to_owned()).chain(args.words());
            assert_eq!(Program::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args, args);
        }
    }

    #[test]
    fn shares_differ_by_one_at_most_and_add_up() {
        let shares: Vec<u32> = (0..3).map(|number| share(8, 3, number)).collect();
        assert_eq!(shares, [3, 3, 2]);
    }
}
