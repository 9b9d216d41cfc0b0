//! `cargo xtask`: reads the command line, runs one command, and turns its outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use xtask::cli::{Cli, run};
use xtask::seed::with_settings;
use xtask::terminal;

/// As the services have it: the load generator is a gRPC client, and what it costs is missing on the other side.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match with_settings(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(error) => {
            terminal::failure(&error);
            return ExitCode::FAILURE;
        }
    };
    match run(&Cli::parse_from(arguments)).await {
        Ok(code) => code,
        Err(error) => {
            terminal::failure(&error);
            ExitCode::FAILURE
        }
    }
}
