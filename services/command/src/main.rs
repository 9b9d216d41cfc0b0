//! `tandem-command`: the write side. Wiring only.

use std::{error::Error, process::ExitCode};

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

#[tokio::main]
async fn main() -> ExitCode {
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
