//! A tiny gRPC service made by hand, its client, and a real server around it on a free port.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tandem_chassis::deadline::Deadline;
use tandem_chassis::health::{Condition, Health};
use tandem_chassis::server::{ServeError, serve};
use tandem_chassis::settings::ServerSettings;
use tandem_chassis::shutdown::Shutdown;
use tandem_chassis::status;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc as Server, NamedService, ServerStreamingService, UnaryService};
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use tower::Service;

pub const DOMAIN: &str = "test.example";
pub const SERVICE: &str = "test.v1.Echo";
pub const SAY: &str = "/test.v1.Echo/Say";
pub const COUNT: &str = "/test.v1.Echo/Count";

/// Longest wait for anything in these tests; nothing here takes a tenth of it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What the service is asked to do.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ask {
    #[prost(string, tag = "1")]
    pub what: String,
}

/// What it says.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Said {
    #[prost(uint64, tag = "1")]
    pub number: u64,
}

/// A message whose first field has another wire type than [`Ask`]'s.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Unreadable {
    #[prost(uint64, tag = "1")]
    pub number: u64,
}

/// Where `wait` calls stand until a test lets them pass.
#[derive(Clone)]
pub struct Gate {
    pub entered: Arc<Semaphore>,
    pub passes: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { entered: Arc::new(Semaphore::new(0)), passes: Arc::new(Semaphore::new(0)) }
    }

    /// Returns once so many calls have come since the last time.
    pub async fn entered(&self, calls: u32) {
        let entered = tokio::time::timeout(PATIENCE, self.entered.acquire_many(calls));
        entered.await.expect("calls come in").unwrap().forget();
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the vault is open")]
struct Private;

#[derive(Clone)]
struct Echo {
    gate: Gate,
    max_message_bytes: usize,
}

impl Echo {
    async fn say(self, request: Request<Ask>) -> Result<Response<Said>, Status> {
        let number = match request.get_ref().what.as_str() {
            "hello" => 1,
            "wait" => {
                self.gate.entered.add_permits(1);
                self.gate.passes.acquire().await.unwrap().forget();
                2
            }
            "remaining" => {
                let left = Deadline::of(request.extensions()).remaining();
                u64::try_from(left.as_millis()).unwrap()
            }
            "record" => {
                tracing::Span::current().record("command_id", "of-the-handler");
                tracing::info!("inside the handler");
                3
            }
            "panic" => panic!("the till is on fire"),
            "private" => return Err(status::internal(DOMAIN, "VAULT", Private)),
            "plain" => return Err(Status::not_found("no such thing")),
            other => return Err(Status::invalid_argument(other.to_owned())),
        };
        Ok(Response::new(Said { number }))
    }
}

struct Say(Echo);

impl UnaryService<Ask> for Say {
    type Response = Said;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Said>, Status>> + Send>>;

    fn call(&mut self, request: Request<Ask>) -> Self::Future {
        Box::pin(self.0.clone().say(request))
    }
}

struct Count(Echo);

impl ServerStreamingService<Ask> for Count {
    type Response = Said;
    type ResponseStream = BoxStream<'static, Result<Said, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    /// One number at once, then one for each pass; `plain` ends it with an error.
    fn call(&mut self, request: Request<Ask>) -> Self::Future {
        let gate = self.0.gate.clone();
        let what = request.into_inner().what;
        let numbers = futures::stream::unfold(0, move |number| {
            let (gate, what) = (gate.clone(), what.clone());
            async move {
                if number > 0 {
                    gate.passes.acquire().await.unwrap().forget();
                    if what == "plain" {
                        return Some((Err(Status::not_found("no more")), number));
                    }
                }
                Some((Ok(Said { number }), number + 1))
            }
        });
        std::future::ready(Ok(Response::new(numbers.boxed())))
    }
}

impl NamedService for Echo {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc =
                Server::new(ProstCodec::default()).apply_max_message_size_config(Some(echo.max_message_bytes), None);
            Ok(match request.uri().path() {
                SAY => grpc.unary(Say(echo), request).await,
                COUNT => grpc.server_streaming(Count(echo), request).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

/// A server that runs.
pub struct Running {
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    pub health: Health,
    pub ready: Condition,
    pub gate: Gate,
    pub server: JoinHandle<Result<(), ServeError>>,
}

pub fn settings() -> ServerSettings {
    ServerSettings {
        drain_timeout: PATIENCE,
        default_deadline: PATIENCE,
        max_deadline: PATIENCE * 2,
        max_concurrent_requests: NonZeroUsize::new(100).unwrap(),
        max_message_bytes: NonZeroUsize::new(1000).unwrap(),
    }
}

pub async fn start(settings: ServerSettings) -> Running {
    crate::logs::install();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gate = Gate::new();
    let (health, health_server) = Health::new(&[SERVICE]);
    let ready = health.condition("ready");
    let echo = Echo { gate: gate.clone(), max_message_bytes: settings.max_message_bytes.get() };
    let routes = Routes::new(health_server).add_service(echo);
    let shutdown = Shutdown::new();
    let (serving, end) = (health.clone(), shutdown.clone());
    let server = tokio::spawn(async move { serve(&settings, listener, routes, serving, end, DOMAIN).await });
    Running { address, shutdown, health, ready, gate, server }
}

impl Running {
    pub async fn channel(&self) -> Channel {
        let uri = format!("http://{}", self.address);
        Channel::from_shared(uri).unwrap().connect().await.unwrap()
    }

    pub async fn health_client(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel().await)
    }

    /// Waits for `serve` to return.
    pub async fn ended(self) -> Result<(), ServeError> {
        tokio::time::timeout(PATIENCE, self.server).await.expect("the server ends").unwrap()
    }
}

pub fn ask(what: &str) -> Request<Ask> {
    Request::new(Ask { what: what.into() })
}

/// Calls a unary method.
pub async fn call<M>(channel: &Channel, path: &'static str, request: Request<M>) -> Result<Response<Said>, Status>
where
    M: prost::Message + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = grpc.unary(request, path, ProstCodec::<M, Said>::default());
    tokio::time::timeout(PATIENCE * 2, answer).await.expect("every call is answered")
}

/// Opens the stream of numbers.
pub async fn count(channel: &Channel, what: &str) -> tonic::Streaming<Said> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(COUNT);
    let codec = ProstCodec::<Ask, Said>::default();
    grpc.server_streaming(ask(what), path, codec).await.unwrap().into_inner()
}

/// The code and the ErrorInfo's reason, having checked its domain.
pub fn reason(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, DOMAIN);
    (status.code(), info.reason)
}
