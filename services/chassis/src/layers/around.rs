//! One async function around the rest of the call, as a tower service.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tokio::time::Instant;
use tonic::body::Body;
use tower::{Service, ServiceExt};

/// A gRPC request before it is decoded.
pub(crate) type Request = http::Request<Body>;

/// A gRPC response after it is encoded.
pub(crate) type Response = http::Response<Body>;

/// When the outermost layer got the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival(Instant);

impl Arrival {
    pub(super) fn of(request: &Request) -> Instant {
        let arrival = request.extensions().get::<Self>();
        arrival.map_or_else(Instant::now, |arrival| arrival.0)
    }
}

/// What one layer does with a call.
pub(crate) trait Stage: Clone + Send + 'static {
    /// Answers the call, usually by running `next`.
    fn run(self, request: Request, next: impl Next) -> impl Future<Output = Response> + Send;
}

/// The rest of the call.
pub(crate) trait Next: Send + 'static {
    /// Runs it.
    fn run(self, request: Request) -> impl Future<Output = Response> + Send;
}

impl<S> Next for S
where
    S: Service<Request, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send,
{
    async fn run(self, request: Request) -> Response {
        match self.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// A stage around a service.
#[derive(Debug, Clone)]
pub struct Around<T, S> {
    stage: T,
    inner: S,
}

impl<T, S> Around<T, S> {
    pub(super) fn new(stage: T, inner: S) -> Self {
        Self { stage, inner }
    }
}

impl<T, S> Service<Request> for Around<T, S>
where
    T: Stage,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // `Next` waits for the inner service's readiness itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // Here rather than in the future: tonic starts its own clock right after this call, and
        // only a clock that started before runs out before, however busy the machine is.
        let now = Instant::now();
        request.extensions_mut().get_or_insert_with(|| Arrival(now));
        let answer = self.stage.clone().run(request, self.inner.clone());
        Box::pin(async move { Ok(answer.await) })
    }
}
