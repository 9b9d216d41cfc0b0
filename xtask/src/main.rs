//! `cargo xtask`: reads the command line, runs one command, and turns its outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use xtask::cli::{Cli, run};
use xtask::terminal;

/// As the services have it: the load generator is a gRPC client, and what it costs is missing on the other side.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            terminal::failure(&error);
            ExitCode::FAILURE
        }
    }
}
