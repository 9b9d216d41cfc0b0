//! Which method a request names.

use super::Request;

/// The service and method of a request, as its path names them; nobody has checked that they exist.
#[derive(Debug, Clone)]
pub(super) struct Call {
    path: String,
    /// Position of the slash between service and method.
    slash: usize,
}

impl Call {
    pub(super) fn of(request: &Request) -> Self {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let slash = path.find('/').unwrap_or(path.len());
        Self { path, slash }
    }

    /// `package.Service/Method`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn service(&self) -> &str {
        &self.path[..self.slash]
    }

    pub(super) fn method(&self) -> &str {
        self.path.get(self.slash + 1..).unwrap_or_default()
    }

    /// Health checks must be answered however busy the process is.
    pub(super) fn is_health(&self) -> bool {
        self.service() == "grpc.health.v1.Health"
    }

    /// Probes and clients that look at the contract come with every call of a person's and every few seconds of a
    /// machine's: no news for a log.
    pub(super) fn is_tooling(&self) -> bool {
        self.is_health() || self.service().starts_with("grpc.reflection.")
    }

    /// Streams of health and reflection stay open for as long as the client likes: they are no work
    /// that a drain should wait for.
    pub(super) fn outlives_drain(&self) -> bool {
        self.is_tooling()
    }
}

#[cfg(test)]
mod tests {
    use tonic::body::Body;

    use super::*;

    fn call(path: &str) -> Call {
        Call::of(&http::Request::builder().uri(path).body(Body::empty()).unwrap())
    }

    #[test]
    fn a_path_is_split_into_service_and_method() {
        let call = call("/a.v1.A/Do");
        assert_eq!((call.service(), call.method()), ("a.v1.A", "Do"));
    }

    #[test]
    fn a_path_that_names_no_method_does_no_harm() {
        for path in ["/", "/a", "/a/"] {
            assert_eq!(call(path).method(), "", "{path}");
        }
    }
}
