//! gRPC without a client library: what the server says by itself, also to requests that no library would send, and
//! without a clock on the client's side that would answer in the server's place.

use std::{future::poll_fn, net::SocketAddr, time::Duration};

use h2::client;
use http::{HeaderMap, Request};
use prost::Message;
use tokio::{net::TcpStream, time::timeout};
use tonic::{Code, Status, codegen::Bytes};

/// A server that does not answer fails the test after this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A frame of gRPC: not compressed, then its length, then the message.
pub fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a test's message is short");
    [[0].as_slice(), &length.to_be_bytes(), message].concat().into()
}

/// Sends a message with a deadline that only the server watches.
pub async fn call<M: Message, A: Message + Default>(
    address: SocketAddr,
    path: &'static str,
    message: &M,
    deadline: Duration,
) -> Result<A, Status> {
    let milliseconds = format!("{}m", deadline.as_millis());
    let answer = send(address, path, &[("grpc-timeout", &milliseconds)], frame(&message.encode_to_vec())).await?;
    Ok(A::decode(&answer[5..]).expect("the server sends what the contract says"))
}

/// Sends the bytes of one request's body, and gives the bytes of the answer's body or the status that came instead.
pub async fn send(
    address: SocketAddr,
    path: &'static str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Bytes, Status> {
    let exchanged = timeout(PATIENCE, exchange(address, path, headers, body)).await;
    let (body, trailers) = exchanged.expect("the server answers").expect("the server speaks HTTP/2");
    match Status::from_header_map(&trailers) {
        Some(status) if status.code() == Code::Ok => Ok(body),
        Some(status) => Err(status),
        None => panic!("an answer without a status: {trailers:?}"),
    }
}

async fn exchange(
    address: SocketAddr,
    path: &'static str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<(Bytes, HeaderMap), h2::Error> {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    let (mut client, connection) = client::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("a test's headers are well-formed");
    poll_fn(|context| client.poll_ready(context)).await?;
    let (response, mut sender) = client.send_request(request, false)?;
    sender.send_data(body, true)?;
    let (head, mut answer) = response.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = answer.data().await {
        let data = data?;
        answer.flow_control().release_capacity(data.len())?;
        bytes.extend(data);
    }
    let trailers = answer.trailers().await?;
    connection.abort();
    Ok((bytes.into(), trailers.unwrap_or(head.headers)))
}
