//! Wires the service together and serves until shutdown.

use tandem_chassis::{
    database::{Database, DatabaseError},
    health::Health,
    listeners::Listeners,
    metrics, reflection,
    settings::SecretError,
    shutdown::Shutdown,
};
use tandem_proto::{
    FILE_DESCRIPTOR_SET, agreed::ERROR_DOMAIN, sales::command::v1::sales_command_service_server as contract,
};
use tokio::task::JoinHandle;
use tonic::service::Routes;

use crate::{
    commit::{Committer, Heartbeat, Retention},
    grpc::SalesCommands,
    settings::ServeSettings,
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
    let (committer, lanes) = Committer::start(&database, settings.lanes());
    let committed = committer.committed();
    let service = contract::SalesCommandServiceServer::new(SalesCommands::new(committer, settings.currency.clone()))
        .max_decoding_message_size(settings.server.max_message_bytes.get());
    let (health, health_service) = Health::new(&[contract::SERVICE_NAME]);
    health.watch_database(database.clone(), shutdown.clone());

    let routes = Routes::new(service).add_service(health_service);
    let routes = reflection::add(routes, FILE_DESCRIPTOR_SET, &[contract::SERVICE_NAME])?;

    let writer = settings.instance_name.clone().unwrap_or_else(|| instance_name(settings));
    let background = Shutdown::new();
    let heartbeat = Heartbeat::new(database.clone(), committed, writer);
    let heartbeat = tokio::spawn(heartbeat.run(background.clone()));
    let retention = Retention::new(database.clone(), settings.request_id_retention);
    let retention = tokio::spawn(retention.run(background.clone()));
    let scraped = tokio::spawn(metrics::serve(listeners.metrics, metrics::install(), background.clone()));

    let served =
        tandem_chassis::server::serve(&settings.server, listeners.grpc, routes, health, shutdown, ERROR_DOMAIN).await;

    // The lanes end when the server has dropped the last sender; commands of callers that were cut off are still carried
    // out. Only then the last watermark is written: it covers them all.
    watch_end("lanes", lanes).await;
    background.trigger();
    watch_end("heartbeat", heartbeat).await;
    watch_end("retention", retention).await;
    match scraped.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "metrics were not served to the end"),
        Err(error) => tracing::error!(%error, "metrics were not served to the end"),
    }
    database.close().await;
    Ok(served?)
}

/// Host and port: another name for each instance, whether they share a host or an address.
fn instance_name(settings: &ServeSettings) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", settings.listen.port())
}

async fn watch_end(what: &'static str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, what, "a background task ended early");
    }
}
