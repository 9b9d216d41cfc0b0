//! DEADLINE_EXCEEDED when the time is up before the answer begins. A body that has begun is never
//! cut: health watches, reflection and other streams last as long as they last.

use std::time::Duration;

use tokio::time::timeout_at;
use tonic::Code;

use super::around::Arrival;
use super::{Next, Request, Response, Stage, grpc_timeout};
use crate::deadline::{Deadline, OfCaller};
use crate::settings::ServerSettings;
use crate::status::with_reason;

/// We answer up to this much before the caller's own clock runs out, so that our words reach it in
/// time: a busy network's round trip. tonic, too, watches the same `grpc-timeout` outside of all
/// layers and would answer CANCELLED at that moment.
const MARGIN: Duration = Duration::from_millis(20);

/// Gives each call its [`Deadline`] and ends the wait when it passes.
#[derive(Debug, Clone)]
pub struct DeadlineStage {
    default_deadline: Duration,
    max_deadline: Duration,
    error_domain: &'static str,
}

impl DeadlineStage {
    pub(super) fn new(settings: &ServerSettings, error_domain: &'static str) -> Self {
        Self { default_deadline: settings.default_deadline, max_deadline: settings.max_deadline, error_domain }
    }

    fn granted(&self, asked: Option<Duration>) -> Duration {
        match asked {
            Some(asked) => asked - margin(asked),
            None => self.default_deadline,
        }
        .min(self.max_deadline)
    }
}

/// A short time would be all margin, hence never more than a tenth.
fn margin(asked: Duration) -> Duration {
    MARGIN.min(asked / 10)
}

impl Stage for DeadlineStage {
    async fn run(self, mut request: Request, next: impl Next) -> Response {
        let asked = grpc_timeout::of(request.headers());
        let arrival = Arrival::of(&request);
        let deadline = Deadline::at(arrival + self.granted(asked));
        // Eight digits of hours are too far away for a clock.
        if let Some(of_caller) = asked.and_then(|asked| arrival.checked_add(asked - margin(asked))) {
            request.extensions_mut().insert(OfCaller(Deadline::at(of_caller)));
        }
        request.extensions_mut().insert(deadline);
        match timeout_at(deadline.when(), next.run(request)).await {
            Ok(response) => response,
            Err(_) => with_reason(
                Code::DeadlineExceeded,
                "the deadline passed before the answer was ready",
                self.error_domain,
                "DEADLINE_EXCEEDED",
            )
            .into_http(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(asked: Option<u64>) -> Duration {
        let stage = DeadlineStage {
            default_deadline: Duration::from_secs(10),
            max_deadline: Duration::from_secs(60),
            error_domain: "test.example",
        };
        stage.granted(asked.map(Duration::from_millis))
    }

    #[test]
    fn a_caller_gets_what_it_asks_for_less_the_margin_and_up_to_the_maximum() {
        assert_eq!(granted(Some(1_000)), Duration::from_millis(980));
        assert_eq!(granted(Some(2)), Duration::from_micros(1_800));
        assert_eq!(granted(Some(3_600_000)), Duration::from_secs(60));
    }

    #[test]
    fn a_caller_that_asks_for_nothing_gets_the_default() {
        assert_eq!(granted(None), Duration::from_secs(10));
    }
}
