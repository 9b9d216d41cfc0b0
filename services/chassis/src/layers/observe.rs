//! One span, one log line and one set of numbers for each call.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::{Code, Status};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use uuid::Uuid;

use super::around::Arrival;
use super::call::Call;
use super::methods::MethodsStage;
use super::{Next, Request, Response, Stage};
use crate::status::{chain_of, code_name, with_reason};
use crate::telemetry;

/// Carries the caller's name for the call, and back ours if it had none.
const REQUEST_ID: &str = "x-request-id";

/// W3C's header: the trace that the caller is in.
const TRACEPARENT: &str = "traceparent";

/// Longest request id that is taken over: room for every scheme in use, none for an attack on logs.
const MAX_REQUEST_ID: usize = 128;

/// Spans, logs, counts and times each call, and turns a panic into INTERNAL.
#[derive(Debug, Clone)]
pub struct ObserveStage {
    methods: MethodsStage,
    error_domain: &'static str,
}

impl ObserveStage {
    pub(super) fn new(methods: MethodsStage, error_domain: &'static str) -> Self {
        Self { methods, error_domain }
    }
}

impl Stage for ObserveStage {
    async fn run(self, request: Request, next: impl Next) -> Response {
        let call = Call::of(&request);
        let request_id = request_id(request.headers());
        let span = span_of(&call, request.headers(), &request_id);
        let arrival = Arrival::of(&request);
        let mut record = Record::start(call, self.methods, span.clone(), arrival);
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
        let mut response = match answer.instrument(span).await {
            Ok(response) => response,
            Err(panic) => {
                record.cause = Some(words_of(panic.as_ref()));
                with_reason(Code::Internal, "internal error", self.error_domain, "PANIC").into_http()
            }
        };
        let id = request_id.parse().expect("a request id is visible ASCII, which headers take");
        response.headers_mut().insert(REQUEST_ID, id);
        record.head(&mut response);
        response.map(|body| Body::new(ObservedBody { body, record }))
    }
}

/// What is known of a call so far. Dropping it ends the call: a client that goes away leaves no
/// other trace.
struct Record {
    call: Call,
    methods: MethodsStage,
    span: Span,
    started: Instant,
    code: Option<Code>,
    cause: Option<String>,
}

impl Record {
    fn start(call: Call, methods: MethodsStage, span: Span, started: Instant) -> Self {
        metrics::gauge!("grpc_server_in_flight").increment(1.0);
        Self { call, methods, span, started, code: None, cause: None }
    }

    /// Learns the status from the response's head, if it is there, and takes the cause away.
    fn head(&mut self, response: &mut Response) {
        self.code = code_in(response.headers());
        if let Some(status) = response.extensions_mut().remove::<Status>()
            && let Some(source) = std::error::Error::source(&status)
        {
            self.cause = Some(chain_of(source));
        }
    }

    fn count(&self, code: &'static str, took: Duration) {
        let (service, method) = match self.methods.knows(&self.call) {
            true => (self.call.service().to_owned(), self.call.method().to_owned()),
            false => ("unknown".to_owned(), "unknown".to_owned()),
        };
        let labels = [metrics::Label::new("grpc_service", service), metrics::Label::new("grpc_method", method)];
        metrics::histogram!("grpc_server_handling_seconds", labels.iter()).record(took);
        let [service, method] = labels;
        let labels = vec![service, method, metrics::Label::new("grpc_code", code)];
        metrics::counter!("grpc_server_handled_total", labels).increment(1);
        metrics::gauge!("grpc_server_in_flight").decrement(1.0);
    }

    fn log(&self, code: Code, took: Duration) {
        let name = code_name(code);
        // Microseconds are enough, and more digits are noise.
        let duration_ms = (took.as_secs_f64() * 1_000_000.0).round() / 1_000.0;
        let cause = self.cause.as_deref();
        if telemetry::exports_traces() {
            // The line has the code by itself.
            self.span.record("rpc.grpc.status_code", code as i32);
        }
        let _entered = self.span.enter();
        if is_server_fault(code) {
            self.span.record("otel.status_code", "ERROR");
            tracing::warn!(code = name, duration_ms, cause, "call finished");
        } else if self.call.is_tooling() {
            tracing::debug!(code = name, duration_ms, cause, "call finished");
        } else {
            tracing::info!(code = name, duration_ms, cause, "call finished");
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        let took = self.started.elapsed();
        self.count(code_name(code), took);
        self.log(code, took);
    }
}

/// Codes that say that this side failed rather than the caller.
fn is_server_fault(code: Code) -> bool {
    matches!(code, Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Unavailable | Code::DataLoss)
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    let value = headers.get(Status::GRPC_STATUS)?;
    Some(Code::from_bytes(value.as_bytes()))
}

/// The caller's request id where it is short visible ASCII, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=MAX_REQUEST_ID).contains(&id.len()))
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

fn span_of(call: &Call, headers: &HeaderMap, request_id: &str) -> Span {
    let parent = headers.contains_key(TRACEPARENT).then(|| TraceContextPropagator::new().extract(&Carrier(headers)));
    let given = parent.as_ref().map(|parent| parent.span().span_context().trace_id());
    let exports = telemetry::exports_traces();
    let trace_id = match given {
        Some(id) if id != TraceId::INVALID => Some(id),
        // The exporter gives the span an id of its own.
        _ if exports => None,
        _ => Some(RandomIdGenerator::default().new_trace_id()),
    };
    // At level ERROR, so that no filter takes the ids away from the lines inside.
    let span = tracing::error_span!(
        "call",
        otel.name = call.path(),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        rpc.system = "grpc",
        rpc.service = call.service(),
        rpc.method = call.method(),
        rpc.grpc.status_code = tracing::field::Empty,
        trace_id = trace_id.map(tracing::field::display),
        request_id,
        // Recorded by handlers whose message names its command; `request_id` is the header's and stays what it is.
        command_id = tracing::field::Empty,
    );
    if let Some(parent) = parent.filter(|_| exports)
        && let Err(error) = span.set_parent(parent)
    {
        tracing::debug!(%error, "the span has no parent");
    }
    if trace_id.is_none() {
        span.record("trace_id", tracing::field::display(span.context().span().span_context().trace_id()));
    }
    span
}

/// Request headers as the propagator reads them.
struct Carrier<'a>(&'a HeaderMap);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", words.unwrap_or("without words"))
}

struct ObservedBody {
    body: Body,
    record: Record,
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let entered = this.record.span.enter();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        drop(entered);
        let code = match &frame {
            Some(Ok(frame)) => frame.trailers_ref().map(|trailers| {
                // Trailers without a status are a broken answer.
                code_in(trailers).unwrap_or(Code::Unknown)
            }),
            Some(Err(status)) => Some(status.code()),
            None => Some(Code::Unknown),
        };
        this.record.code = this.record.code.or(code);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(text: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, text.parse().unwrap());
        request_id(&headers)
    }

    #[test]
    fn a_sane_request_id_is_taken_over() {
        assert_eq!(id_for("till-7:42"), "till-7:42");
        assert_eq!(id_for(&"x".repeat(MAX_REQUEST_ID)).len(), MAX_REQUEST_ID);
    }

    #[test]
    fn any_other_request_id_is_replaced_by_a_new_uuid() {
        for text in ["", "two words", "tab\there", &"x".repeat(MAX_REQUEST_ID + 1)] {
            let id = Uuid::parse_str(&id_for(text)).unwrap();
            assert_eq!(id.get_version_num(), 7, "{text:?}");
        }
    }
}
