//! `cargo xtask test`: everything the tests need, then `cargo test`.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;

use crate::cargo;
use crate::cli::PostgresArgs;
use crate::places::{RunDirectory, workspace_root};
use crate::postgres::{PG_BIN_VARIABLE, ServerUser, locate};
use crate::service::{BINARIES_VARIABLE, Binaries};
use crate::{terminal, tools};

/// How `test` is called.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    postgres: PostgresArgs,
    /// Arguments for `cargo test`, by default `--workspace`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Runs the tests with one PostgreSQL for all, and passes their exit code on.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let user = ServerUser::of_this_process()?;
    let installation = locate(args.postgres.pg_bin.as_deref(), &user, RunDirectory::open()?.path())?;
    terminal::note(&format!("testing with {installation}"));
    let grpcurl = tools::grpcurl_directory()?;
    let binaries = Binaries::build(false).await?;
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(grpcurl).chain(env::split_paths(&path)))?;

    let mut command = cargo::command();
    command.arg("test").current_dir(workspace_root());
    if args.arguments.is_empty() {
        command.arg("--workspace");
    }
    let status = command
        .args(&args.arguments)
        .env("PATH", path)
        .env(PG_BIN_VARIABLE, &installation.bin_dir)
        .env(BINARIES_VARIABLE, binaries.directory())
        .status()
        .context("cargo can't be run: is it on the PATH?")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
