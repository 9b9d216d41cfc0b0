//! The process's Prometheus recorder and the small HTTP server it is scraped on.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::time::interval;

use crate::shutdown::Shutdown;

/// Buckets of everything measured in seconds: a local read takes about 1 ms, a commit a few, and
/// nothing may take longer than the largest deadline of 60 s.
const SECONDS: [f64; 15] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0];

/// Buckets of every other histogram, which count things: rows, items, callers in a batch.
const COUNTS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 10_000.0];

/// Histograms keep raw samples until upkeep folds them into buckets: often enough that a busy
/// service that nobody scrapes does not grow.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// A scrape that is under way at shutdown gets this long; scrapes take milliseconds.
const LAST_SCRAPE_LIMIT: Duration = Duration::from_secs(1);

static HANDLE: OnceLock<MetricsHandle> = OnceLock::new();

/// Renders what the process has recorded. Clones see the same recorder.
#[derive(Clone)]
pub struct MetricsHandle {
    prometheus: PrometheusHandle,
}

impl std::fmt::Debug for MetricsHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MetricsHandle").finish_non_exhaustive()
    }
}

impl MetricsHandle {
    /// Everything recorded so far, in Prometheus's text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.prometheus.render()
    }
}

/// Makes the Prometheus recorder that of the whole process. Later calls give the same handle.
pub fn install() -> MetricsHandle {
    HANDLE
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new()
                .set_buckets(&COUNTS)
                .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS))
                .expect("the bucket lists above are not empty")
                .build_recorder();
            let prometheus = recorder.handle();
            if let Err(error) = ::metrics::set_global_recorder(recorder) {
                // Only a second metrics library in the process can cause this; the service works,
                // its own metrics stay empty, and whoever wonders why finds this line.
                tracing::error!(%error, "another metrics recorder is installed; ours stays empty");
            }
            MetricsHandle { prometheus }
        })
        .clone()
}

/// Serves `GET /metrics` (Prometheus text) and `GET /livez` (200 while the process runs) until
/// shutdown.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, handle: MetricsHandle, shutdown: Shutdown) -> io::Result<()> {
    let upkeep = upkeep(handle.prometheus.clone());
    let router = Router::new().route("/metrics", get(scrape)).route("/livez", get(async || "ok\n")).with_state(handle);
    let ended = shutdown.clone();
    let server =
        axum::serve(listener, router).with_graceful_shutdown(async move { ended.triggered().await }).into_future();
    let cut_off = async {
        shutdown.triggered().await;
        tokio::time::sleep(LAST_SCRAPE_LIMIT).await;
    };
    tokio::select! {
        served = server => served,
        () = cut_off => Ok(()),
        () = upkeep => Ok(()),
    }
}

async fn scrape(State(handle): State<MetricsHandle>) -> impl IntoResponse {
    let text_format = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, text_format)], handle.render())
}

async fn upkeep(prometheus: PrometheusHandle) {
    let mut tick = interval(UPKEEP_INTERVAL);
    loop {
        tick.tick().await;
        prometheus.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn what_was_recorded_can_be_scraped_and_the_server_ends_with_the_process() {
        let handle = install();
        ::metrics::counter!("chassis_test_total").increment(3);
        ::metrics::histogram!("chassis_test_seconds").record(0.003);
        ::metrics::histogram!("chassis_test_rows").record(7.0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let server = tokio::spawn(serve(listener, handle, shutdown.clone()));

        let metrics = get(address, "/metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
        assert!(metrics.contains("chassis_test_total 3"), "{metrics}");
        assert!(metrics.contains("chassis_test_seconds_bucket{le=\"0.005\"} 1"), "{metrics}");
        assert!(metrics.contains("chassis_test_rows_bucket{le=\"10\"} 1"), "{metrics}");
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));

        let mut stalled = TcpStream::connect(address).await.unwrap();
        stalled.write_all(b"GET /metr").await.unwrap();
        get(address, "/livez").await;
        shutdown.trigger();
        timeout(Duration::from_secs(5), server).await.unwrap().unwrap().unwrap();
        drop(stalled);
    }

    #[test]
    fn installing_twice_gives_one_recorder() {
        let first = install();
        ::metrics::counter!("chassis_twice_total").increment(1);
        assert!(first.render().contains("chassis_twice_total 1"));
        assert!(install().render().contains("chassis_twice_total 1"));
    }
}
