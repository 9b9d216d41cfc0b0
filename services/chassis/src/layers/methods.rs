//! Which methods exist. Routes cannot be listed, so a method counts as existing once the routes
//! have answered it with anything but "unknown method": a caller who makes names up can neither
//! fill this set nor add a label to a metric.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use super::call::Call;
use super::{Next, Request, Response, Stage, details};

/// The methods that exist, as far as they were called. Clones share the set.
#[derive(Debug, Clone, Default)]
pub struct MethodsStage {
    known: Arc<RwLock<HashSet<String>>>,
}

impl MethodsStage {
    /// Whether the call's method exists; an existing method that never answered yet is not known.
    pub(super) fn knows(&self, call: &Call) -> bool {
        // A set of strings cannot be left half-changed.
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.contains(call.path())
    }

    fn learn(&self, call: &Call) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(call.path().to_owned());
    }
}

impl Stage for MethodsStage {
    async fn run(self, request: Request, next: impl Next) -> Response {
        let call = Call::of(&request);
        let response = next.run(request).await;
        if !self.knows(&call) && !details::is_unknown_method(&response) {
            self.learn(&call);
        }
        response
    }
}
