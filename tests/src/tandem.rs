//! The services, in this process, on a pair of their own.

use std::{net::SocketAddr, thread};

use anyhow::Context as _;
use clap::Parser as _;
use sqlx::{Connection as _, PgConnection};
use tandem_chassis::{listeners::Listeners, shutdown::Shutdown};
use tandem_proto::sales::{
    command::v1::sales_command_service_client::SalesCommandServiceClient,
    query::v1::{
        replication_service_client::ReplicationServiceClient, sales_query_service_client::SalesQueryServiceClient,
    },
};
use tokio::sync::{OnceCell, oneshot};
use tonic::transport::{Channel, Endpoint};
use xtask::postgres::{Cluster, Login, ReplicaNumber, TestOptions, TestPair};

/// A running pair of services and databases.
pub struct Tandem {
    /// The databases.
    pub pair: TestPair,
    command: SocketAddr,
    /// The query service of each replica.
    queries: Vec<SocketAddr>,
    shutdown: Shutdown,
}

impl Tandem {
    /// The one that all tests of this binary share. Tests must not stop or break it, and must tell their sales from
    /// their neighbours': by a store, say.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Tandem> = OnceCell::const_new();
        SHARED.get_or_init(|| async { Self::start(TestOptions::default()).await.expect("a pair starts") }).await
    }

    /// Tells both services to end, as an orchestrator does; does not wait.
    pub fn shut_down(&self) {
        self.shutdown.trigger();
    }

    /// One of its own.
    pub async fn start(options: TestOptions) -> anyhow::Result<Self> {
        Self::serve(TestPair::start(options).await?, &[]).await
    }

    /// The command service with further flags, and a query service for each replica, on a migrated pair.
    pub async fn serve(pair: TestPair, command_flags: &[&str]) -> anyhow::Result<Self> {
        let shutdown = Shutdown::new();
        let command = serve_command(&pair, pair.primary(), command_flags, shutdown.clone()).await?;
        let mut queries = Vec::new();
        for (number, _) in pair.replicas() {
            queries.push(serve_query(&pair, number, shutdown.clone()).await?);
        }
        Ok(Self { pair, command, queries, shutdown })
    }

    /// A client of one more command service on the same primary.
    pub async fn another_command(&self) -> anyhow::Result<SalesCommandServiceClient<Channel>> {
        let flags = ["--instance-name", "another"];
        let address = serve_command(&self.pair, self.pair.primary(), &flags, self.shutdown.clone()).await?;
        Ok(SalesCommandServiceClient::new(channel(address)))
    }

    /// A client of a command service on another of the servers, which has become a primary.
    pub async fn command_on(&self, primary: &Cluster) -> anyhow::Result<SalesCommandServiceClient<Channel>> {
        let address = serve_command(&self.pair, primary, &[], self.shutdown.clone()).await?;
        Ok(SalesCommandServiceClient::new(channel(address)))
    }

    /// Where the command service listens.
    pub const fn command_address(&self) -> SocketAddr {
        self.command
    }

    /// Where the query service of the first replica listens.
    pub fn query_address(&self) -> SocketAddr {
        self.query_address_of(ReplicaNumber::FIRST)
    }

    /// Where the query service of one replica listens.
    pub fn query_address_of(&self, number: ReplicaNumber) -> SocketAddr {
        self.queries[number.index()]
    }

    /// A client of the command service, on a connection of its own.
    pub fn commands(&self) -> SalesCommandServiceClient<Channel> {
        SalesCommandServiceClient::new(channel(self.command))
    }

    /// A client of the query service, on a connection of its own.
    pub fn queries(&self) -> SalesQueryServiceClient<Channel> {
        SalesQueryServiceClient::new(channel(self.query_address()))
    }

    /// A client of the replication service, on a connection of its own.
    pub fn replication(&self) -> ReplicationServiceClient<Channel> {
        ReplicationServiceClient::new(channel(self.query_address()))
    }

    /// The primary, as its superuser.
    pub async fn primary(&self) -> PgConnection {
        self.connect(Login::PrimaryAdmin).await.expect("the primary answers")
    }

    /// The replica, as its superuser.
    pub async fn replica(&self) -> PgConnection {
        self.connect(Login::ReplicaAdmin).await.expect("the replica answers")
    }

    /// The database of one role, as that role.
    pub async fn connect(&self, login: Login) -> sqlx::Result<PgConnection> {
        PgConnection::connect(&self.pair.url(login)).await
    }
}

impl Drop for Tandem {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// A channel to a service; it connects when it is first used.
pub fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("an address makes a URL").connect_lazy()
}

async fn serve_command(
    pair: &TestPair,
    primary: &Cluster,
    flags: &[&str],
    shutdown: Shutdown,
) -> anyhow::Result<SocketAddr> {
    use tandem_command::settings::{Action, Arguments};

    let port = primary.port().to_string();
    let password = pair.passwords().file(Login::Command);
    let password = password.to_str().context("a path of text")?;
    let arguments = ["tandem-command", "serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let arguments = arguments.into_iter().chain(["--port", &port, "--password-file", password]);
    let arguments = arguments.chain(flags.iter().copied());
    let Action::Serve(settings) = Arguments::try_parse_from(arguments)?.action else { unreachable!("serve was asked") };
    in_background("command", settings.listen, settings.metrics_listen, move |listeners| async move {
        tandem_command::serve(&settings, listeners, shutdown).await.expect("the command service serves to the end");
    })
    .await
}

async fn serve_query(pair: &TestPair, number: ReplicaNumber, shutdown: Shutdown) -> anyhow::Result<SocketAddr> {
    use tandem_query::settings::{Action, Arguments};

    let (name, subscription) = (number.name(), number.subscription());
    let port = pair.replica_of(number).port().to_string();
    let primary_port = pair.primary().port().to_string();
    let password = pair.passwords().file(Login::Query);
    let password = password.to_str().context("a path of text")?;
    let monitor = pair.passwords().file(Login::Monitor);
    let monitor = monitor.to_str().context("a path of text")?;
    let arguments = ["tandem-query", "serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let arguments = arguments.into_iter().chain(["--port", &port, "--password-file", password]);
    let arguments = arguments.chain(["--primary-port", &primary_port, "--monitor-password-file", monitor]);
    let arguments = arguments.chain(["--replica-name", &name, "--subscription", &subscription]);
    let Action::Serve(settings) = Arguments::try_parse_from(arguments)?.action else { unreachable!("serve was asked") };
    in_background("query", settings.listen, settings.metrics_listen, move |listeners| async move {
        tandem_query::serve(&settings, listeners, shutdown).await.expect("the query service serves to the end");
    })
    .await
}

/// Serves in a runtime of its own: each test has one that ends with it, and a shared service must outlive them.
async fn in_background<F: Future<Output = ()>>(
    name: &str,
    grpc: SocketAddr,
    metrics: SocketAddr,
    serve: impl FnOnce(Listeners) -> F + Send + 'static,
) -> anyhow::Result<SocketAddr> {
    let (bound, address) = oneshot::channel();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime starts").block_on(async {
            let listeners = Listeners::bind(grpc, metrics).await.expect("a free port is found");
            let address = listeners.addresses().expect("a bound port has an address").0;
            bound.send(address).expect("the test waits for the address");
            serve(listeners).await;
        });
    })?;
    Ok(address.await?)
}
