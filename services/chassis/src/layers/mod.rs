//! What surrounds each call, outermost first.
//!
//! 1. `observe`: a span, a log line at the end, metrics, and a panic becomes INTERNAL.
//! 2. `drain`: knows the calls in flight; cuts off those that outlive the drain.
//! 3. `details`: what tonic says without `ErrorInfo` gets our documented status and one.
//! 4. `deadline`: DEADLINE_EXCEEDED when the time is up before the answer begins.
//! 5. `limit`: refuses a call at once when too many are in progress.
//! 6. `methods`: remembers which methods exist, so that metrics never name one that does not.
//!
//! Each is a [`Stage`]: one async function around the rest of the call.

mod around;
mod call;
mod deadline;
mod details;
mod drain;
mod grpc_timeout;
mod held;
mod limit;
mod methods;
mod observe;

use tonic::service::Routes;
use tower::Layer;

pub use around::Around;
pub(crate) use around::{Next, Request, Response, Stage};
pub use deadline::DeadlineStage;
pub use details::DetailsStage;
pub use drain::{CallsInFlight, DrainStage};
pub use limit::LimitStage;
pub use methods::MethodsStage;
pub use observe::ObserveStage;

use crate::settings::ServerSettings;

/// All layers around the routes, in order.
pub type Layered = Around<
    ObserveStage,
    Around<DrainStage, Around<DetailsStage, Around<DeadlineStage, Around<LimitStage, Around<MethodsStage, Routes>>>>>,
>;

/// The layers of a server whose errors carry `error_domain` and whose calls `calls` counts.
pub fn stack(
    settings: &ServerSettings,
    error_domain: &'static str,
    calls: &CallsInFlight,
) -> impl Layer<Routes, Service = Layered> + Clone {
    let methods = MethodsStage::default();
    let observe = ObserveStage::new(methods.clone(), error_domain);
    let drain = DrainStage::new(calls.clone(), error_domain);
    let details = DetailsStage::new(error_domain);
    let deadline = DeadlineStage::new(settings, error_domain);
    let limit = LimitStage::new(settings.max_concurrent_requests.get(), error_domain);
    tower::layer::layer_fn(move |routes| {
        let routes = Around::new(methods.clone(), routes);
        let routes = Around::new(limit.clone(), routes);
        let routes = Around::new(deadline.clone(), routes);
        let routes = Around::new(details.clone(), routes);
        let routes = Around::new(drain.clone(), routes);
        Around::new(observe.clone(), routes)
    })
}
