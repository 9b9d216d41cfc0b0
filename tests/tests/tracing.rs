//! A call's span reaches a collector as part of the caller's own trace, and holds nothing of what was sold.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use tandem_proto::sales::command::v1::sales_command_service_client::SalesCommandServiceClient;
use tandem_tests::{
    channel, health,
    program::Program,
    request::{create, item, sale},
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::pb::health_check_response::ServingStatus::Serving;
use xtask::{
    postgres::{TestOptions, TestPair},
    service::Service,
};

/// Far more than an export takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A trace and a span of the caller, as W3C's `traceparent` names them.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector that keeps all that it gets.
struct Collector(watch::Sender<Vec<ExportTraceServiceRequest>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send_modify(|exported| exported.push(request.into_inner()));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector on a free port: its URL, and what it gets.
async fn collector() -> (String, watch::Receiver<Vec<ExportTraceServiceRequest>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, exported) = watch::channel(Vec::new());
    let service = TraceServiceServer::new(Collector(sender));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
    (url, exported)
}

/// Each span of the caller's trace beside the attributes of the process that exported it.
fn of_the_trace(exported: &[ExportTraceServiceRequest]) -> Vec<(Vec<KeyValue>, Span)> {
    let mut found = Vec::new();
    for resource_spans in exported.iter().flat_map(|request| &request.resource_spans) {
        let resource = resource_spans.resource.clone().unwrap().attributes;
        let spans = resource_spans.scope_spans.iter().flat_map(|scope| &scope.spans);
        let ours = spans.filter(|span| hex(&span.trace_id) == TRACE);
        found.extend(ours.map(|span| (resource.clone(), span.clone())));
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        other => panic!("{key} is {other:?}"),
    }
}

#[tokio::test]
async fn a_call_joins_the_callers_trace_and_its_span_holds_no_payload() {
    let (url, mut exported) = collector().await;
    let pair = TestPair::start(TestOptions::default()).await.unwrap();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let program = Program::start(&pair, Service::Command, &variables).await.unwrap();
    health::until(program.grpc, "", Serving, PATIENCE).await;
    let mut client = SalesCommandServiceClient::new(channel(program.grpc));
    let call = |quantity| {
        let mut request = Request::new(create(sale(1, vec![item("TOP-SECRET", quantity, "1234.56")])));
        let parent = format!("00-{TRACE}-{PARENT}-01");
        request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        request.metadata_mut().insert("x-request-id", "till-7".parse().unwrap());
        request
    };
    client.create_transaction(call(1)).await.unwrap();
    client.create_transaction(call(-1)).await.unwrap_err();

    // Calls that were never waited for are flushed at the end.
    let both = timeout(PATIENCE, exported.wait_for(|exported| of_the_trace(exported).len() >= 2)).await;
    let spans = of_the_trace(&both.expect("spans are exported").unwrap());
    assert_eq!(spans.len(), 2, "{spans:#?}");
    for (resource, span) in &spans {
        assert_eq!(text(resource, "service.name"), Some("tandem-command"));
        assert_eq!(hex(&span.parent_span_id), PARENT);
        assert_ne!(hex(&span.span_id), PARENT);
        assert_eq!(span.name, "sales.command.v1.SalesCommandService/CreateTransaction");
        assert_eq!(span.kind(), SpanKind::Server);
        assert!(span.end_time_unix_nano > span.start_time_unix_nano);
        assert_eq!(text(&span.attributes, "rpc.system"), Some("grpc"));
        assert_eq!(text(&span.attributes, "rpc.service"), Some("sales.command.v1.SalesCommandService"));
        assert_eq!(text(&span.attributes, "rpc.method"), Some("CreateTransaction"));
        assert_eq!(text(&span.attributes, "request_id"), Some("till-7"));
        let all = format!("{resource:?} {span:?}");
        for words in ["TOP-SECRET", "1234", "insert into", "sales_item"] {
            assert!(!all.contains(words), "{words} in {span:#?}");
        }
        let faulty = span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
        assert!(!faulty, "a caller's mistake is no error of the server: {span:#?}");
    }

    program.terminate().unwrap();
    let (status, log) = program.ended().await.unwrap();
    assert_eq!(status.code(), Some(0), "{log:#?}");
}

#[tokio::test]
async fn a_collector_that_is_away_neither_fails_a_call_nor_holds_the_exit() {
    let pair = TestPair::bare(TestOptions::default()).await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let program =
        Program::start(&pair, Service::Command, &[("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str())]).await.unwrap();
    health::check(program.grpc, "").await.unwrap();
    program.terminate().unwrap();
    let (status, log) = program.ended().await.unwrap();
    assert_eq!(status.code(), Some(0), "{log:#?}");
}
