//! Every error that leaves carries `google.rpc.ErrorInfo`, also those that tonic makes by itself:
//! unknown methods, messages that are too large or do not decode.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{Next, Request, Response, Stage};
use crate::status::{code_name, with_reason};

/// How tonic 0.14 begins its words about a request it could not read. It has no other sign for
/// them; the tests of this crate go red when the words change.
const UNREADABLE: [&str; 4] = [
    "failed to decode Protobuf message",
    "Missing request message.",
    "Unexpected EOF decoding stream.",
    "protocol error: ",
];

/// How tonic 0.14 begins its words about a request above `max_decoding_message_size`.
const TOO_LARGE: &str = "Error, decoded message length too large";

/// Gives each error without details our documented status and `ErrorInfo`.
#[derive(Debug, Clone)]
pub struct DetailsStage {
    error_domain: &'static str,
}

impl DetailsStage {
    pub(super) fn new(error_domain: &'static str) -> Self {
        Self { error_domain }
    }
}

impl Stage for DetailsStage {
    async fn run(self, request: Request, next: impl Next) -> Response {
        let mut response = next.run(request).await;
        if response.headers().contains_key(Status::GRPC_STATUS) {
            complete(response.headers_mut(), self.error_domain);
            return response;
        }
        // The status comes after the body, as trailers.
        let error_domain = self.error_domain;
        response.map(|body| Body::new(DetailedBody { body, error_domain }))
    }
}

/// Whether the routes said that they have no such method: tonic's generated code and its fallback
/// say UNIMPLEMENTED without a word.
pub(super) fn is_unknown_method(response: &Response) -> bool {
    Status::from_header_map(response.headers()).is_some_and(|status| {
        status.code() == Code::Unimplemented && status.message().is_empty() && status.details().is_empty()
    })
}

/// Completes the error in these headers or trailers, if there is one and it has no details.
fn complete(headers: &mut HeaderMap, error_domain: &str) {
    let Some(found) = Status::from_header_map(headers) else {
        return;
    };
    if found.code() == Code::Ok || found.get_details_error_info().is_some() {
        return;
    }
    if !found.details().is_empty() {
        // Somebody's details without an ErrorInfo: ours joins theirs.
        return replace(headers, &with_info_added(&found, error_domain));
    }
    replace(headers, &documented(&found, error_domain));
}

fn documented(found: &Status, domain: &str) -> Status {
    let message = found.message();
    match found.code() {
        Code::Unimplemented if message.is_empty() => {
            let message = "this server has no such method";
            with_reason(Code::Unimplemented, message, domain, "METHOD_UNKNOWN")
        }
        Code::OutOfRange if message.starts_with(TOO_LARGE) => {
            with_reason(Code::ResourceExhausted, message, domain, "MESSAGE_TOO_LARGE")
        }
        Code::Internal if UNREADABLE.iter().any(|words| message.starts_with(words)) => {
            with_reason(Code::InvalidArgument, message, domain, "MALFORMED_MESSAGE")
        }
        code => with_reason(code, message, domain, code_name(code)),
    }
}

fn with_info_added(found: &Status, domain: &str) -> Status {
    let mut details = found.get_error_details();
    details.set_error_info(code_name(found.code()), domain, HashMap::new());
    Status::with_error_details(found.code(), found.message(), details)
}

fn replace(headers: &mut HeaderMap, status: &Status) {
    for name in [Status::GRPC_STATUS, Status::GRPC_MESSAGE, Status::GRPC_STATUS_DETAILS] {
        headers.remove(name);
    }
    if let Err(error) = status.add_header(headers) {
        // Percent-encoding leaves nothing that a header could refuse; should it ever, the code
        // alone must arrive.
        tracing::error!(%error, "a status could not be written into headers");
        headers.insert(Status::GRPC_STATUS, (status.code() as i32).into());
    }
}

struct DetailedBody {
    body: Body,
    error_domain: &'static str,
}

impl HttpBody for DetailedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            complete(trailers, self.error_domain);
        }
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

    const DOMAIN: &str = "test.example";

    fn completed(status: Status) -> Status {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        complete(&mut headers, DOMAIN);
        Status::from_header_map(&headers).unwrap()
    }

    #[test]
    fn an_error_without_details_keeps_its_code_and_gets_error_info() {
        let status = completed(Status::not_found("no such thing"));
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "no such thing");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("NOT_FOUND", DOMAIN));
    }

    #[test]
    fn details_of_a_handler_are_left_alone() {
        let status = completed(with_reason(Code::Internal, "x", "other.example", "OWN"));
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OWN", "other.example"));
    }

    #[test]
    fn details_without_error_info_keep_their_place_beside_it() {
        let mut details = tonic_types::ErrorDetails::new();
        details.add_bad_request_violation("name", "is empty");
        let status = completed(Status::with_error_details(Code::InvalidArgument, "x", details));
        assert!(status.get_details_bad_request().is_some());
        assert!(status.get_details_error_info().is_some());
    }

    #[test]
    fn a_method_that_says_unimplemented_with_words_is_no_unknown_method() {
        let response: Response = Status::unimplemented("not yet").into_http();
        assert!(!is_unknown_method(&response));
        let response: Response = Status::unimplemented("").into_http();
        assert!(is_unknown_method(&response));
    }

    #[test]
    fn success_is_not_an_error() {
        let mut headers = HeaderMap::new();
        headers.insert(Status::GRPC_STATUS, 0.into());
        complete(&mut headers, DOMAIN);
        assert_eq!(headers.len(), 1);
    }
}
