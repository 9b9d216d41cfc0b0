//! Wires the service together and serves until shutdown.

use tandem_chassis::{
    database::{Database, DatabaseError},
    health::Health,
    listeners::Listeners,
    metrics, reflection,
    settings::SecretError,
    shutdown::Shutdown,
};
use tandem_proto::{FILE_DESCRIPTOR_SET, sales::command::v1::sales_command_service_server as contract};
use tonic::service::Routes;

use crate::{
    commit::{Committer, heartbeat},
    grpc::{ERROR_DOMAIN, SalesCommands},
    settings::ServeSettings,
    store::Store,
};

/// Why the service did not start, or ended other than by shutdown.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A password is missing or unreadable.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The pool can't be set up.
    #[error("the database pool can't be set up")]
    Database(#[from] DatabaseError),
    /// The descriptor set does not serve reflection.
    #[error("the contract can't be served by reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The gRPC server failed.
    #[error(transparent)]
    Serve(#[from] tandem_chassis::server::ServeError),
}

/// Serves until `shutdown`, then drains. The primary may be away at first: health says so until it answers.
pub async fn serve(settings: &ServeSettings, listeners: Listeners, shutdown: Shutdown) -> Result<(), ServeError> {
    let database = Database::new(&settings.database()?)?;
    let committer = Committer::new(Store::new(database.clone()));
    let service =
        contract::SalesCommandServiceServer::new(SalesCommands::new(committer.clone(), settings.currency.clone()))
            .max_decoding_message_size(settings.server.max_message_bytes.get());
    let (health, health_service) = Health::new(&[contract::SERVICE_NAME]);
    health.watch_database(database.clone(), shutdown.clone());

    let routes = Routes::new(service).add_service(health_service);
    let routes = reflection::add(routes, FILE_DESCRIPTOR_SET, &[contract::SERVICE_NAME])?;

    let writer = settings.instance_name.clone().unwrap_or_else(|| settings.listen.to_string());
    let background = Shutdown::new();
    let heartbeat = tokio::spawn(heartbeat::run(committer, writer, background.clone()));
    let scraped = tokio::spawn(metrics::serve(listeners.metrics, metrics::install(), background.clone()));

    let served =
        tandem_chassis::server::serve(&settings.server, listeners.grpc, routes, health, shutdown, ERROR_DOMAIN).await;

    // Only now: calls that finished while draining get their watermark too.
    background.trigger();
    if let Err(error) = heartbeat.await {
        tracing::error!(%error, "the heartbeat ended early");
    }
    match scraped.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "metrics were not served to the end"),
        Err(error) => tracing::error!(%error, "metrics were not served to the end"),
    }
    database.close().await;
    Ok(served?)
}
