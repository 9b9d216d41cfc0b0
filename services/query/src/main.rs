//! `tandem-query`: the read side. Wiring only.

use std::{error::Error, process::ExitCode};

use clap::Parser as _;
use tandem_chassis::{database::Database, listeners::Listeners, migration, process, shutdown::Shutdown};
use tandem_query::{
    rollup, serve,
    settings::{
        Action, Arguments, BothSides, CdcSettings, MigrateSettings, RebuildSettings, ServeSettings, SlotSettings,
    },
    store,
};
use tandem_upkeep::Addresses;

const SERVICE: &str = "tandem-query";

/// Half of what a call costs is memory taken by one thread and given back by another, which the system's allocator is slow
/// at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().action {
        Action::Serve(settings) => process::run(SERVICE, &settings.log, run(&settings)).await,
        Action::RebuildRollups(settings) => process::run(SERVICE, &settings.log, rebuild(&settings)).await,
        Action::Heal(settings) => healing(&settings.sides, async |addresses| settings.heal.run(addresses).await).await,
        Action::Resync(settings) => {
            healing(&settings.sides, async |addresses| settings.resync.run(addresses).await).await
        }
        Action::RebuildReplica(settings) => {
            healing(&settings.sides, async |addresses| settings.rebuild.run(addresses).await).await
        }
        Action::Migrate(settings) => process::run(SERVICE, &settings.log, migrate(&settings)).await,
        Action::Slots(settings) => process::run(SERVICE, &settings.upstream.log.clone(), slots(*settings)).await,
        Action::Cdc(settings) => process::run(SERVICE, &settings.upstream.log.clone(), cdc(*settings)).await,
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

async fn rebuild(settings: &RebuildSettings) -> Result<(), Box<dyn Error>> {
    let database = Database::new(&settings.database()?)?;
    let done = rollup::rebuild(&database, say).await?;
    tracing::info!(sales = done.sales, "queries read the new rollups");
    Ok(())
}

fn say(progress: rollup::Progress) {
    match progress.removed {
        None => tracing::info!(sales = progress.sales, "building rollups"),
        Some(removed) => tracing::info!(removed, "removing the old ones"),
    }
}

/// Runs a command that prints for itself.
async fn healing(sides: &BothSides, run: impl AsyncFnOnce(&Addresses) -> ExitCode) -> ExitCode {
    match sides.addresses() {
        Ok(addresses) => run(&addresses).await,
        Err(error) => {
            eprintln!("{SERVICE}: {error}");
            ExitCode::from(tandem_upkeep::FAILED)
        }
    }
}

async fn migrate(settings: &MigrateSettings) -> Result<(), Box<dyn Error>> {
    let sides = &settings.sides;
    let mut admin = migration::connect(&sides.admin()?).await?;
    let upstream = sides.upstream()?;
    let mut primary = migration::connect(&sides.upstream_database()?).await?;
    let password = settings.query_password()?;
    let subscriber =
        store::Subscriber { subscription: sides.subscription.clone(), take_over_slot: settings.take_over_slot };
    store::migrate(&mut admin, &mut primary, &upstream, &subscriber, password.as_ref()).await?;
    tracing::info!(
        host = sides.replica.host,
        port = sides.replica.port,
        subscription = sides.subscription,
        "the replica is migrated and subscribed"
    );
    Ok(())
}

async fn slots(settings: SlotSettings) -> Result<(), Box<dyn Error>> {
    let mut primary = migration::connect(&settings.upstream.database()?).await?;
    let replicas = settings.replicas();
    Ok(settings.command.run(&mut primary, &replicas).await?)
}

async fn cdc(settings: CdcSettings) -> Result<(), Box<dyn Error>> {
    let mut primary = migration::connect(&settings.upstream.database()?).await?;
    Ok(settings.command.run(&mut primary).await?)
}
