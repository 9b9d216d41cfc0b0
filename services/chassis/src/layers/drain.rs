//! Calls in flight at the end of the process: those that are done in time are waited for, the
//! others are cut off with UNAVAILABLE. Cutting the calls rather than their connections tells each
//! caller what happened, and lets the connections close by themselves.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::{Code, Status};

use super::call::Call;
use super::{Next, Request, Response, Stage};
use crate::status::retryable;

/// The calls of one server that are in flight. Clones count the same calls.
#[derive(Debug, Clone, Default)]
pub struct CallsInFlight {
    tracker: TaskTracker,
    draining: CancellationToken,
    cut_off: CancellationToken,
}

impl CallsInFlight {
    /// No calls yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are, streams of health and reflection not counted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tracker.len()
    }

    /// Ends the streams that are no work (health watches, reflection).
    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// Ends all calls that are still in flight and says how many these are.
    pub(crate) fn cut_off(&self) -> usize {
        let count = self.count();
        self.cut_off.cancel();
        count
    }
}

/// Counts calls and ends them when the drain is over.
#[derive(Debug, Clone)]
pub struct DrainStage {
    calls: CallsInFlight,
    error_domain: &'static str,
}

impl DrainStage {
    pub(super) fn new(calls: CallsInFlight, error_domain: &'static str) -> Self {
        Self { calls, error_domain }
    }
}

impl Stage for DrainStage {
    async fn run(self, request: Request, next: impl Next) -> Response {
        let (end, counted) = match Call::of(&request).outlives_drain() {
            true => (self.calls.draining.clone(), None),
            false => (self.calls.cut_off.clone(), Some(self.calls.tracker.token())),
        };
        // A call without a body yet waits for the cut-off only: during the drain a health check
        // must still hear NOT_SERVING.
        let response = tokio::select! {
            biased;
            response = next.run(request) => response,
            () = self.calls.cut_off.cancelled() => {
                return shutting_down(self.error_domain).into_http();
            }
        };
        let error_domain = self.error_domain;
        response
            .map(|body| Body::new(DrainedBody { body: Some(body), end, ended: None, error_domain, _counted: counted }))
    }
}

fn shutting_down(error_domain: &str) -> Status {
    retryable(Code::Unavailable, "the server is shutting down; try again", error_domain, "SHUTTING_DOWN")
}

/// A body that ends with UNAVAILABLE when it is still waiting for its next frame at the end.
struct DrainedBody {
    body: Option<Body>,
    end: CancellationToken,
    /// Made when the body first has to wait; most never do.
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    error_domain: &'static str,
    _counted: Option<TaskTrackerToken>,
}

impl HttpBody for DrainedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let end = &this.end;
        let ended = this.ended.get_or_insert_with(|| Box::pin(end.clone().cancelled_owned()));
        ready!(ended.as_mut().poll(context));
        this.body = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(
            shutting_down(this.error_domain).add_header(&mut trailers).map(|()| Frame::trailers(trailers)),
        ))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
