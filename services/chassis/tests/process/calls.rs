//! What happens to a call on its way through the layers of a real server.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::echo::{PATIENCE, SAY, Unreadable, ask, call, count, reason, settings, start};
use prost::Message;
use tandem_chassis::settings::ServerSettings;
use tokio::net::TcpStream;
use tonic::codegen::Bytes;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_types::StatusExt;

fn expect(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}

#[tokio::test]
async fn a_deadline_that_passes_is_deadline_exceeded_and_never_cancelled() {
    let server = start(settings()).await;
    for _ in 0..20 {
        let status = wait_over_bare_http2(server.address, "60m").await;
        assert_eq!(reason(&status), expect(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    }
}

/// Calls `wait` without tonic's channel, which has a timer of its own that on a busy machine may
/// answer before the server's words arrive.
async fn wait_over_bare_http2(address: SocketAddr, grpc_timeout: &str) -> Status {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://{address}{SAY}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", grpc_timeout)
        .body(())
        .unwrap();
    let message = ask("wait").into_inner().encode_to_vec();
    let mut frame = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
    frame.extend(message);
    let (response, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from(frame), true).unwrap();
    let response = tokio::time::timeout(PATIENCE, response).await.unwrap().unwrap();
    Status::from_header_map(response.headers()).expect("the head carries the status")
}

#[tokio::test]
async fn a_call_without_a_deadline_gets_the_default() {
    let default_deadline = Duration::from_millis(50);
    let server = start(ServerSettings { default_deadline, ..settings() }).await;
    let channel = server.channel().await;
    let status = call(&channel, SAY, ask("wait")).await.unwrap_err();
    assert_eq!(reason(&status), expect(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
}

#[tokio::test]
async fn the_handler_sees_the_callers_deadline_capped_by_the_maximum() {
    let max_deadline = Duration::from_secs(3);
    let server = start(ServerSettings { max_deadline, ..settings() }).await;
    let channel = server.channel().await;
    for (asked, from, to) in [(1_000, 500, 995), (60_000, 2_500, 3_000)] {
        let mut request = ask("remaining");
        request.set_timeout(Duration::from_millis(asked));
        let left = call(&channel, SAY, request).await.unwrap().into_inner().number;
        assert!((from..=to).contains(&left), "{left} ms left of {asked}");
    }
}

#[tokio::test]
async fn a_body_that_has_begun_outlives_the_deadline() {
    let default_deadline = Duration::from_millis(50);
    let server = start(ServerSettings { default_deadline, ..settings() }).await;
    let channel = server.channel().await;
    let mut numbers = count(&channel, "").await;
    assert_eq!(numbers.message().await.unwrap().unwrap().number, 0);
    // A call that waits for its own default deadline tells that the stream's has passed, too.
    call(&channel, SAY, ask("wait")).await.unwrap_err();
    server.gate.passes.add_permits(1);
    assert_eq!(numbers.message().await.unwrap().unwrap().number, 1);
}

#[tokio::test]
async fn one_call_too_many_is_refused_at_once_with_retry_info_and_health_still_answers() {
    let max_concurrent_requests = NonZeroUsize::new(1).unwrap();
    let server = start(ServerSettings { max_concurrent_requests, ..settings() }).await;
    let channel = server.channel().await;
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, SAY, ask("wait")).await }
    });
    server.gate.entered(1).await;

    let status = call(&channel, SAY, ask("hello")).await.unwrap_err();
    assert_eq!(reason(&status), expect(Code::ResourceExhausted, "OVERLOADED"));
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    let mut health = server.health_client().await;
    health.check(HealthCheckRequest::default()).await.unwrap();

    server.gate.passes.add_permits(1);
    first.await.unwrap().unwrap();
    call(&channel, SAY, ask("hello")).await.unwrap();
}

#[tokio::test]
async fn a_stream_holds_its_place_until_it_ends() {
    let max_concurrent_requests = NonZeroUsize::new(1).unwrap();
    let server = start(ServerSettings { max_concurrent_requests, ..settings() }).await;
    let channel = server.channel().await;
    let mut numbers = count(&channel, "plain").await;
    numbers.message().await.unwrap().unwrap();
    let status = call(&channel, SAY, ask("hello")).await.unwrap_err();
    assert_eq!(reason(&status), expect(Code::ResourceExhausted, "OVERLOADED"));
    server.gate.passes.add_permits(1);
    numbers.message().await.unwrap_err();
    call(&channel, SAY, ask("hello")).await.unwrap();
}

#[tokio::test]
async fn what_tonic_refuses_by_itself_has_the_documented_status_and_reason() {
    let server = start(settings()).await;
    let channel = server.channel().await;
    for path in ["/test.v1.Echo/Nothing", "/no.v1.Such/Service"] {
        let status = call(&channel, path, ask("hello")).await.unwrap_err();
        assert_eq!(reason(&status), expect(Code::Unimplemented, "METHOD_UNKNOWN"));
    }
    let status = call(&channel, SAY, ask(&"x".repeat(1_001))).await.unwrap_err();
    assert_eq!(reason(&status), expect(Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    let unreadable = Request::new(Unreadable { number: 7 });
    let status = call(&channel, SAY, unreadable).await.unwrap_err();
    assert_eq!(reason(&status), expect(Code::InvalidArgument, "MALFORMED_MESSAGE"));
}

#[tokio::test]
async fn an_error_without_details_gets_error_info_also_in_trailers() {
    let server = start(settings()).await;
    let channel = server.channel().await;
    let status = call(&channel, SAY, ask("plain")).await.unwrap_err();
    assert_eq!(reason(&status), expect(Code::NotFound, "NOT_FOUND"));
    assert_eq!(status.message(), "no such thing");

    let mut numbers = count(&channel, "plain").await;
    numbers.message().await.unwrap().unwrap();
    server.gate.passes.add_permits(1);
    let status = numbers.message().await.unwrap_err();
    assert_eq!(reason(&status), expect(Code::NotFound, "NOT_FOUND"));
}

#[tokio::test]
async fn a_panic_is_internal_and_the_server_goes_on() {
    let server = start(settings()).await;
    let channel = server.channel().await;
    let status = call(&channel, SAY, ask("panic")).await.unwrap_err();
    assert_eq!(reason(&status), expect(Code::Internal, "PANIC"));
    assert!(!status.message().contains("fire"), "{status:?}");
    call(&channel, SAY, ask("hello")).await.unwrap();
}

#[tokio::test]
async fn the_request_id_comes_back_in_the_response() {
    let server = start(settings()).await;
    let channel = server.channel().await;
    let mut request = ask("hello");
    request.metadata_mut().insert("x-request-id", "till-7".parse().unwrap());
    let answer = call(&channel, SAY, request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "till-7");

    let answer = call(&channel, SAY, ask("hello")).await.unwrap();
    let id = answer.metadata().get("x-request-id").unwrap().to_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);

    let status = call(&channel, SAY, ask("plain")).await.unwrap_err();
    assert!(status.metadata().contains_key("x-request-id"));
}

#[tokio::test]
async fn metrics_name_existing_methods_only() {
    let handle = tandem_chassis::metrics::install();
    let server = start(settings()).await;
    let channel = server.channel().await;
    call(&channel, SAY, ask("hello")).await.unwrap();
    call(&channel, "/made.v1.Up/Name", ask("hello")).await.unwrap_err();
    let mut numbers = count(&channel, "plain").await;
    server.gate.passes.add_permits(1);
    while let Ok(Some(_)) = numbers.message().await {}

    let say = r#"grpc_service="test.v1.Echo",grpc_method="Say""#;
    let count = r#"grpc_service="test.v1.Echo",grpc_method="Count""#;
    let text = handle.render();
    for line in [
        format!(r#"grpc_server_handled_total{{{say},grpc_code="OK"}}"#),
        format!(r#"grpc_server_handling_seconds_bucket{{{say},le="0.1"}}"#),
        format!(r#"grpc_server_handled_total{{{count},grpc_code="NOT_FOUND"}}"#),
        r#"grpc_service="unknown",grpc_method="unknown",grpc_code="UNIMPLEMENTED""#.to_owned(),
        "grpc_server_in_flight".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} in\n{text}");
    }
    assert!(!text.contains("made.v1.Up"), "{text}");
}
