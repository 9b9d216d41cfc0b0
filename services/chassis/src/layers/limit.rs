//! Refuses a call at once when too many are in progress. A queue here would only let callers wait
//! for an answer that comes after their deadline.
//!
//! tower's own limit and load shedding answer with an error instead of a status, and know no
//! exception for health checks; a semaphore says the same in fewer words.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::call::Call;
use super::held::Held;
use super::{Next, Request, Response, Stage};
use crate::status::retryable;

/// At most so many calls in progress, from the request's head to the end of the response's body.
#[derive(Debug, Clone)]
pub struct LimitStage {
    places: Arc<Semaphore>,
    error_domain: &'static str,
}

impl LimitStage {
    pub(super) fn new(max_concurrent_requests: usize, error_domain: &'static str) -> Self {
        let places = max_concurrent_requests.min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(places)), error_domain }
    }

    fn overloaded(&self) -> Status {
        retryable(
            Code::ResourceExhausted,
            "too many calls are in progress; try again later",
            self.error_domain,
            "OVERLOADED",
        )
    }
}

impl Stage for LimitStage {
    async fn run(self, request: Request, next: impl Next) -> Response {
        if Call::of(&request).is_health() {
            return next.run(request).await;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return self.overloaded().into_http();
        };
        let response = next.run(request).await;
        response.map(|body| Held::wrap(body, place))
    }
}
