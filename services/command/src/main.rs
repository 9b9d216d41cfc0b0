//! `tandem-command`: the write side. Wiring only.

use std::{env, error::Error, process::ExitCode, thread};

use clap::Parser as _;
use tandem_chassis::{listeners::Listeners, migration, process, shutdown::Shutdown};
use tandem_command::{
    serve,
    settings::{Action, Arguments, MigrateSettings, ServeSettings},
    store,
};

const SERVICE: &str = "tandem-command";

/// Half of what a call costs is memory taken by one thread and given back by another, which the system's allocator is slow
/// at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The runtime's threads, unless this standard variable says how many.
const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";

fn main() -> ExitCode {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if env::var_os(WORKER_THREADS).is_none() {
        builder.worker_threads(default_threads());
    }
    match builder.enable_all().build() {
        Ok(runtime) => runtime.block_on(act()),
        Err(error) => {
            eprintln!("{SERVICE}: no threads for the runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Half of the processors. A call is a hundred microseconds' work that passes through few hands, and each thread more is one
/// more to be woken in between: with one of two, 8 callers and 256 get more done, beside a database that wants the other.
fn default_threads() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

async fn act() -> ExitCode {
    match Arguments::parse().action {
        Action::Serve(settings) => process::run(SERVICE, &settings.log, run(&settings)).await,
        Action::Migrate(settings) => process::run(SERVICE, &settings.log, migrate(&settings)).await,
    }
}

async fn run(settings: &ServeSettings) -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::on_signal()?;
    let listeners = Listeners::bind(settings.listen, settings.metrics_listen).await?;
    let (grpc, metrics) = listeners.addresses()?;
    tracing::info!(%grpc, %metrics, "listening");
    serve(settings, listeners, shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}

async fn migrate(settings: &MigrateSettings) -> Result<(), Box<dyn Error>> {
    let mut admin = migration::connect(&settings.database()?).await?;
    store::migrate(&mut admin, &settings.passwords()?).await?;
    tracing::info!(host = settings.primary.host, port = settings.primary.port, "the primary is migrated");
    Ok(())
}
