//! Wires the service together and serves until shutdown.

use std::sync::Arc;

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
    FILE_DESCRIPTOR_SET,
    agreed::ERROR_DOMAIN,
    sales::query::v1::{
        replication_service_server::{self, ReplicationServiceServer},
        sales_query_service_server::{self, SalesQueryServiceServer},
    },
};
use tonic::service::Routes;

use crate::{
    freshness::{Freshness, HealthyStaleness, PrimaryClock, Watcher, watch_staleness},
    grpc::{Batches, Replication, SalesQueries, Watches},
    live::{BatchWaits, Hub, Summaries, Watchers},
    rollup::Folder,
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
    /// What must run as long as the service did not.
    #[error(transparent)]
    Background(#[from] BackgroundError),
    /// The gRPC server failed.
    #[error(transparent)]
    Serve(#[from] tandem_chassis::server::ServeError),
}

/// Serves until `shutdown`, then drains. The replica may be away at first: health says so until it answers.
pub async fn serve(settings: &ServeSettings, listeners: Listeners, shutdown: Shutdown) -> Result<(), ServeError> {
    let databases = Databases::new(settings)?;
    let subscription = || settings.subscription.clone();
    let replica = |database: &Database| Replica::new(database.clone(), subscription());
    let primary = databases.primary.as_ref().map(|database| Primary::new(database.clone(), subscription()));
    let (watcher, freshness) = Watcher::new(replica(&databases.watcher), primary.clone());
    let for_health = freshness.clone();

    let names = [sales_query_service_server::SERVICE_NAME, replication_service_server::SERVICE_NAME];
    let (health, health_service) = Health::new(&names);
    health.watch_database(databases.callers.clone(), shutdown.clone());
    let largest = settings.server.max_message_bytes.get();
    let waits = BatchWaits::new(replica(&databases.live), freshness.clone(), shutdown.clone());
    let name = settings.replica_name.clone();
    let batches = Batches::new(replica(&databases.callers), freshness.clone(), waits.clone(), name);
    let replication = replication(settings, replica(&databases.status), primary, freshness.clock(), batches);
    let hub = Arc::new(Hub::new(replica(&databases.live)));
    let watchers = Watchers::new(hub.clone(), replica(&databases.live), shutdown.clone());
    let summaries = Summaries::new(replica(&databases.live), freshness.clone(), shutdown.clone());
    let watches = Watches::new(watchers, summaries, settings.currency.clone(), settings.replica_name.clone());
    let queries = queries(settings, replica(&databases.callers), freshness, watches);
    let routes = Routes::new(SalesQueryServiceServer::new(queries).max_decoding_message_size(largest))
        .add_service(ReplicationServiceServer::new(replication).max_decoding_message_size(largest))
        .add_service(health_service);
    let routes = reflection::add(routes, FILE_DESCRIPTOR_SET, &names)?;

    let mut background = Background::new(&shutdown);
    background.serve_metrics(listeners.metrics);
    background.spawn("watcher", watcher.run(background.stop()));
    background.spawn("batches", waits.run(background.stop()));
    background.spawn("hub", hub.run(background.stop()));
    let folder = Folder::new(databases.folder.clone(), settings.past_kept());
    background.spawn("folder", folder.run(background.stop()));
    judge_staleness(settings, &health, for_health, &mut background);

    let served =
        tandem_chassis::server::serve(&settings.server, listeners.grpc, routes, health, shutdown, ERROR_DOMAIN).await;
    // Only now: calls that wait for freshness while draining still need the watcher.
    let finished = background.finish(FINISH_LIMIT).await;
    databases.close().await;
    served?;
    Ok(finished?)
}

/// Queries are served while the replica is not too stale, where there is a limit. Of the replication service nobody asks for
/// fresh sales, but why there are none; and to start the process anew would not make them fresher.
fn judge_staleness(settings: &ServeSettings, health: &Health, freshness: Freshness, background: &mut Background) {
    let HealthyStaleness::AtMost(most) = settings.max_healthy_staleness else { return };
    let condition = health.condition_of(sales_query_service_server::SERVICE_NAME, "fresh");
    background.spawn("staleness", watch_staleness(freshness, most, condition, background.stop()));
}

fn queries(settings: &ServeSettings, replica: Replica, freshness: Freshness, watches: Watches) -> SalesQueries {
    SalesQueries::new(replica, freshness, watches, settings.currency.clone(), settings.replica_name.clone())
}

fn replication(
    settings: &ServeSettings,
    replica: Replica,
    primary: Option<Primary>,
    clock: PrimaryClock,
    batches: Batches,
) -> Replication {
    Replication::new(replica, primary, clock, batches, settings.replica_name.clone())
}

/// The pools. One each for callers, for the watcher, and for those who ask how replication is doing: when callers hold
/// all of theirs, the others still know.
struct Databases {
    callers: Database,
    watcher: Database,
    status: Database,
    folder: Database,
    live: Database,
    primary: Option<Database>,
}

impl Databases {
    fn new(settings: &ServeSettings) -> Result<Self, ServeError> {
        Ok(Self {
            callers: Database::new(&settings.database()?)?,
            watcher: Database::new(&settings.watcher_database()?)?,
            status: Database::new(&settings.status_database()?)?,
            folder: Database::new(&settings.folder_database()?)?,
            live: Database::new(&settings.live_database()?)?,
            primary: settings.monitor()?.map(|settings| Database::new(&settings)).transpose()?,
        })
    }

    async fn close(&self) {
        let close_primary = async {
            if let Some(primary) = &self.primary {
                primary.close().await;
            }
        };
        tokio::join!(
            self.callers.close(),
            self.watcher.close(),
            self.status.close(),
            self.folder.close(),
            self.live.close(),
            close_primary
        );
    }
}
