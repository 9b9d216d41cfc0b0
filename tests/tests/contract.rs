//! What both services say of themselves, and what they answer to requests that the contract does not know.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use prost::Message as _;
use tandem_proto::sales::{
    command::v1::{CreateTransactionRequest, CreateTransactionResponse},
    query::v1::GetTransactionRequest,
};
use tandem_tests::{
    Tandem, channel,
    request::{create, item, reason, sale, wrong_fields},
    wire,
};
use tonic::{Code, Status, codegen::Bytes};

const CREATE: &str = "/sales.command.v1.SalesCommandService/CreateTransaction";
const GET: &str = "/sales.query.v1.SalesQueryService/GetTransaction";

/// What a server takes at most, by default.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Long enough for any call.
const LONG: Duration = Duration::from_secs(30);

const COMMAND_SERVICES: [&str; 4] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "sales.command.v1.SalesCommandService",
];
const QUERY_SERVICES: [&str; 5] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "sales.query.v1.ReplicationService",
    "sales.query.v1.SalesQueryService",
];

/// A client of one version of reflection; both have the same messages, as different types.
macro_rules! reflection {
    ($version:ident) => {
        mod $version {
            use std::net::SocketAddr;

            use prost::Message as _;
            use prost_types::FileDescriptorProto;
            use tonic::Status;
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };

            async fn ask(address: SocketAddr, request: MessageRequest) -> Result<MessageResponse, Status> {
                let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
                let mut client = ServerReflectionClient::new(tandem_tests::channel(address));
                let mut answers = client.server_reflection_info(tokio_stream::once(request)).await?.into_inner();
                Ok(answers.message().await?.unwrap().message_response.unwrap())
            }

            /// The names of the services that are listed, sorted.
            pub async fn services(address: SocketAddr) -> Vec<String> {
                let answer = ask(address, MessageRequest::ListServices(String::new())).await.unwrap();
                let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
                let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
                names.sort();
                names
            }

            /// The file that defines a symbol.
            pub async fn file_of(address: SocketAddr, symbol: &str) -> Result<FileDescriptorProto, Status> {
                match ask(address, MessageRequest::FileContainingSymbol(symbol.to_owned())).await? {
                    MessageResponse::FileDescriptorResponse(files) => {
                        Ok(FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice()).unwrap())
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    };
}

reflection!(v1);
reflection!(v1alpha);

#[tokio::test]
async fn both_versions_of_reflection_list_exactly_what_is_served() {
    let tandem = Tandem::shared().await;
    assert_eq!(v1::services(tandem.command_address()).await, COMMAND_SERVICES);
    assert_eq!(v1alpha::services(tandem.command_address()).await, COMMAND_SERVICES);
    assert_eq!(v1::services(tandem.query_address()).await, QUERY_SERVICES);
    assert_eq!(v1alpha::services(tandem.query_address()).await, QUERY_SERVICES);
}

#[tokio::test]
async fn reflection_knows_every_listed_service_and_the_details_of_errors() {
    let tandem = Tandem::shared().await;
    let details = ["google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo"];
    for (address, services) in
        [(tandem.command_address(), &COMMAND_SERVICES[..]), (tandem.query_address(), &QUERY_SERVICES[..])]
    {
        for symbol in services.iter().chain(&details) {
            let (in_v1, in_v1alpha) = (v1::file_of(address, symbol).await, v1alpha::file_of(address, symbol).await);
            assert_eq!(in_v1.unwrap(), in_v1alpha.unwrap(), "{symbol}");
        }
        let unknown = v1::file_of(address, "no.v1.Such").await.unwrap_err();
        assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "NOT_FOUND"));
    }
}

fn assert_said(status: &Status, code: Code, expected: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (code, expected), "{status:?}");
}

#[tokio::test]
async fn a_method_that_is_not_there_is_unimplemented_with_a_reason() {
    let tandem = Tandem::shared().await;
    let of_the_other = "/sales.query.v1.SalesQueryService/GetTransaction";
    for path in ["/sales.command.v1.SalesCommandService/NoSuch", "/no.v1.Such/Method", of_the_other] {
        let status = wire::send(tandem.command_address(), path, &[], wire::frame(&[])).await.unwrap_err();
        assert_said(&status, Code::Unimplemented, "METHOD_UNKNOWN");
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_invalid_argument_with_a_reason() {
    let tandem = Tandem::shared().await;
    let not_text = [&[0x0a, 2], [0xff, 0xfe].as_slice()].concat();
    let bodies = [
        ("a tag without an end", wire::frame(&[0xff; 12])),
        ("a length beyond the end", wire::frame(&[0x0a, 0x7f, 0x01])),
        ("a frame that is cut off", Bytes::from_static(&[0, 0, 0, 0, 9, 1])),
        ("a flag that nobody knows", Bytes::from_static(&[7, 0, 0, 0, 0])),
        ("compressed, and no one said how", Bytes::from_static(&[1, 0, 0, 0, 1, 0])),
        ("no message at all", Bytes::new()),
    ];
    for (what, body) in &bodies {
        for (address, path) in [(tandem.command_address(), CREATE), (tandem.query_address(), GET)] {
            let status = wire::send(address, path, &[], body.clone()).await.unwrap_err();
            assert_eq!(reason(&status), "MALFORMED_MESSAGE", "{what}: {status:?}");
            assert_said(&status, Code::InvalidArgument, "MALFORMED_MESSAGE");
        }
    }
    let status = wire::send(tandem.query_address(), GET, &[], wire::frame(&not_text)).await.unwrap_err();
    assert_said(&status, Code::InvalidArgument, "MALFORMED_MESSAGE");
}

/// A create that takes so many bytes on the wire, nearly all of them a product's name.
fn create_of(bytes: usize) -> CreateTransactionRequest {
    let mut request = create(sale(1, vec![item("A", 1, "1.00")]));
    let mut length = 0;
    while request.encoded_len() != bytes {
        length = (length + bytes).saturating_sub(request.encoded_len());
        request.transaction.as_mut().unwrap().items[0].product_name = "x".repeat(length);
    }
    request
}

#[tokio::test]
async fn a_message_of_the_largest_size_is_read_and_one_byte_more_is_too_large() {
    let tandem = Tandem::shared().await;
    let largest = create_of(MAX_MESSAGE_BYTES);
    let read = wire::call::<_, CreateTransactionResponse>(tandem.command_address(), CREATE, &largest, LONG).await;
    let too_long = ("transaction.items[0].product_name".to_owned(), "TOO_LONG".to_owned());
    assert_eq!(wrong_fields(&read.unwrap_err()), [too_long]);

    let larger = create_of(MAX_MESSAGE_BYTES + 1);
    let refused = wire::call::<_, CreateTransactionResponse>(tandem.command_address(), CREATE, &larger, LONG).await;
    assert_said(&refused.unwrap_err(), Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    let asked = GetTransactionRequest { transaction_id: "x".repeat(MAX_MESSAGE_BYTES), consistency: None };
    let refused = tandem.queries().get_transaction(asked).await.unwrap_err();
    assert_said(&refused, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
}

#[tokio::test]
async fn a_client_library_hears_that_its_message_is_too_large_and_can_go_on() {
    let tandem = Tandem::shared().await;
    let mut client = tandem_proto::sales::command::v1::sales_command_service_client::SalesCommandServiceClient::new(
        channel(tandem.command_address()),
    );
    for _ in 0..10 {
        let refused = client.create_transaction(create_of(5 * 1024 * 1024)).await.unwrap_err();
        assert_said(&refused, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
        client.create_transaction(create(sale(1, vec![item("A", 1, "1.00")]))).await.unwrap();
    }
}
