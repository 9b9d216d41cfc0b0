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
    FILE_DESCRIPTOR_SET,
    sales::query::v1::{
        replication_service_server::{self, ReplicationServiceServer},
        sales_query_service_server::{self, SalesQueryServiceServer},
    },
};
use tonic::service::Routes;

use crate::{
    freshness::{Freshness, Watcher},
    grpc::{ERROR_DOMAIN, Replication, SalesQueries},
    settings::ServeSettings,
    store::{Primary, Replica},
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

/// Serves until `shutdown`, then drains. The replica may be away at first: health says so until it answers.
pub async fn serve(settings: &ServeSettings, listeners: Listeners, shutdown: Shutdown) -> Result<(), ServeError> {
    let database = Database::new(&settings.database()?)?;
    let monitor = settings.monitor()?.map(|settings| Database::new(&settings)).transpose()?;
    let primary = monitor.map(|database| Primary::new(database, settings.subscription.clone()));
    let replica = Replica::new(database.clone(), settings.subscription.clone());
    let (watcher, freshness) = Watcher::new(replica.clone(), primary.clone());

    let names = [sales_query_service_server::SERVICE_NAME, replication_service_server::SERVICE_NAME];
    let (health, health_service) = Health::new(&names);
    health.watch_database(database.clone(), shutdown.clone());
    let routes = routes(settings, &replica, freshness, primary.clone()).add_service(health_service);
    let routes = reflection::add(routes, FILE_DESCRIPTOR_SET, &names)?;

    let background = Shutdown::new();
    let watcher = tokio::spawn(watcher.run(background.clone()));
    let scraped = tokio::spawn(metrics::serve(listeners.metrics, metrics::install(), background.clone()));

    let served =
        tandem_chassis::server::serve(&settings.server, listeners.grpc, routes, health, shutdown, ERROR_DOMAIN).await;

    // Only now: calls that wait for freshness while draining still need the watcher.
    background.trigger();
    if let Err(error) = watcher.await {
        tracing::error!(%error, "the watcher ended early");
    }
    match scraped.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "metrics were not served to the end"),
        Err(error) => tracing::error!(%error, "metrics were not served to the end"),
    }
    database.close().await;
    if let Some(primary) = primary {
        primary.close().await;
    }
    Ok(served?)
}

fn routes(
    settings: &ServeSettings,
    replica: &Replica,
    freshness: Freshness,
    primary: Option<Primary>,
) -> Routes {
    let largest = settings.server.max_message_bytes.get();
    let name = settings.replica_name.clone();
    let queries = SalesQueries::new(replica.clone(), freshness, settings.currency.clone(), name.clone());
    let replication = Replication::new(replica.clone(), primary, name);
    Routes::new(SalesQueryServiceServer::new(queries).max_decoding_message_size(largest))
        .add_service(ReplicationServiceServer::new(replication).max_decoding_message_size(largest))
}
