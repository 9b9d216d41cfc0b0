//! Wires the service together and serves until shutdown.

use tandem_chassis::{
    background::{Background, BackgroundError, FINISH_LIMIT},
    database::{Database, DatabaseError},
    health::Health,
    listeners::Listeners,
    reflection,
    settings::SecretError,
    shutdown::Shutdown,
};
use tandem_proto::{
    FILE_DESCRIPTOR_SET, agreed::ERROR_DOMAIN, sales::command::v1::sales_command_service_server as contract,
};
use tonic::service::Routes;

use crate::{
    commit::{Committer, Heartbeat, Retention},
    grpc::SalesCommands,
    import::Importer,
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
    /// What must run as long as the service did not.
    #[error(transparent)]
    Background(#[from] BackgroundError),
    /// The gRPC server failed.
    #[error(transparent)]
    Serve(#[from] tandem_chassis::server::ServeError),
}

/// Serves until `shutdown`, then drains. The primary may be away at first: health says so until it answers.
pub async fn serve(settings: &ServeSettings, listeners: Listeners, shutdown: Shutdown) -> Result<(), ServeError> {
    let database = Database::new(&settings.database()?)?;
    // Of its own: when callers hold all connections, the watermark still moves.
    let housekeeping = Database::new(&settings.housekeeping_database()?)?;
    let (committer, lanes) = Committer::start(&database, settings.lanes());
    let writer = settings.instance_name.clone().unwrap_or_else(|| instance_name(settings));
    let heartbeat = Heartbeat::new(housekeeping.clone(), committer.committed(), writer);
    let retention = Retention::new(housekeeping.clone(), settings.kept());

    let importer = Importer::new(&database, settings.imports(), committer.committed(), shutdown.clone());
    let imports = importer.ended();

    let commands = SalesCommands::new(committer, importer, settings.currency.clone());
    let service = contract::SalesCommandServiceServer::new(commands)
        .max_decoding_message_size(settings.server.max_message_bytes.get());
    let (health, health_service) = Health::new(&[contract::SERVICE_NAME]);
    health.watch_database(database.clone(), shutdown.clone());
    let routes = Routes::new(service).add_service(health_service);
    let routes = reflection::add(routes, FILE_DESCRIPTOR_SET, &[contract::SERVICE_NAME])?;

    let mut background = Background::new(&shutdown);
    background.serve_metrics(listeners.metrics);
    background.spawn("heartbeat", heartbeat.run(background.stop()));
    background.spawn("retention", retention.run(background.stop()));
    background.drain("lanes", lanes);
    background.drain("imports", imports);

    let served =
        tandem_chassis::server::serve(&settings.server, listeners.grpc, routes, health, shutdown, ERROR_DOMAIN).await;
    // The lanes end once the server has dropped the last sender; commands of callers that were cut off are still carried
    // out. Only then the last watermark is written: it covers them all.
    let finished = background.finish(FINISH_LIMIT).await;
    tokio::join!(database.close(), housekeeping.close());
    served?;
    Ok(finished?)
}

/// Host and port: another name for each instance, whether they share a host or an address.
fn instance_name(settings: &ServeSettings) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", settings.listen.port())
}
