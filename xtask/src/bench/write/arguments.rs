//! The command line of `cargo xtask bench write`.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use super::super::conclusion::Output;
use super::super::programs::Profile;

/// Measures sales that are written one by one, against pgbench writing the same rows.
///
/// Starts a durable pair of its own with the command service, applies loads in turn, compares what was acknowledged with
/// what is stored, and tells the ratios. Exit codes: 0 it ran, whether targets hold or not; 2 an answer was wrong and
/// the run is void; 1 it could not be run.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How often all loads are applied in turn; five or more make a figure.
    #[arg(long, default_value = "5")]
    pub rounds: NonZeroU32,

    /// How long each load is applied.
    #[arg(long, default_value = "5")]
    pub seconds: NonZeroU32,

    /// Which rows of BENCHMARKS, separated by commas [default: all].
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_delimiter = ',',
        default_value = "w1,w2,w3,w4,w5",
        hide_default_value = true
    )]
    pub rows: Vec<RowId>,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// Draws rates by callers into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// Callers of W3, W2 and W1, from few to many.
    #[arg(long, value_name = "FEW,SOME,MOST", default_value = "8,64,256", value_parser = callers)]
    pub callers: Callers,

    /// Clients of pgbench that are tried for W1's peer, beside those of W3 and W2.
    #[arg(long, value_delimiter = ',', default_value = "32,90")]
    pub clients: Vec<NonZeroU32>,

    /// Sales of W5.
    #[arg(long, default_value = "200000")]
    pub import_sales: NonZeroU64,

    /// HTTP/2 connections of all callers together: what comes together in one of them costs one system call.
    #[arg(long, default_value = "2")]
    pub connections: NonZeroU32,

    /// Threads of the load generator.
    #[arg(long, default_value = "1")]
    pub generator_threads: NonZeroU32,

    /// A setting of the command service that is not its default, such as TANDEM_LOG=warn; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub service_env: Vec<(String, String)>,

    /// How the service and the load generator are built.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    pub profile: Profile,

    /// Builds nothing and takes tandem-command, tandem-query and xtask from here: another commit's, say.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "profile")]
    pub bin_dir: Option<PathBuf>,
}

/// A row of the table of benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum RowId {
    /// Most callers against pgbench's best.
    W1,
    /// Some callers against as many clients of pgbench.
    W2,
    /// Few callers against as many clients of pgbench.
    W3,
    /// W1 with commands that only the database can refuse, against W1.
    W4,
    /// ImportTransactions against psql's COPY of as many sales, in rows (headers and items).
    W5,
}

/// How many callers the rows have, each more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Callers {
    /// W3.
    pub few: u32,
    /// W2.
    pub some: u32,
    /// W1 and W4.
    pub most: u32,
}

fn callers(text: &str) -> Result<Callers, String> {
    let numbers: Result<Vec<u32>, _> = text.split(',').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([few, some, most]) if 0 < *few && few < some && some < most => {
            Ok(Callers { few: *few, some: *some, most: *most })
        }
        _ => Err("not three growing numbers such as 8,64,256".to_owned()),
    }
}

/// Reads `NAME=VALUE`.
pub fn setting(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    parts
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "not of the form NAME=VALUE".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn rows_are_named_as_in_the_table_and_all_are_the_default() {
        let parse = |words: &[&str]| Program::try_parse_from([&["write"], words].concat()).unwrap().args;
        assert_eq!(parse(&[]).rows, [RowId::W1, RowId::W2, RowId::W3, RowId::W4, RowId::W5]);
        assert_eq!(parse(&["--rows", "W1,W3"]).rows, [RowId::W1, RowId::W3]);
        assert_eq!(parse(&[]).callers, Callers { few: 8, some: 64, most: 256 });
        assert_eq!(parse(&["--callers", "1,2,3"]).callers, Callers { few: 1, some: 2, most: 3 });
        for wrong in ["1,2", "3,2,1", "0,1,2", "1,2,x", "1,2,3,4"] {
            assert!(Program::try_parse_from(["write", "--callers", wrong]).is_err(), "{wrong}");
        }
        assert!(Program::try_parse_from(["write", "--rounds", "0"]).is_err());
        assert!(Program::try_parse_from(["write", "--rows", "Q1"]).is_err());
    }

    #[test]
    fn settings_of_the_service_have_a_name_and_a_value() {
        assert_eq!(setting("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(setting("A").is_err() && setting("=b").is_err());
    }
}
