//! Callers that stop waiting.

use std::time::Duration;

use tandem_chassis::metrics;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// A service notices within milliseconds that a caller is gone; more is a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between looks: about what one look costs.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Drops a call half-way, and waits until the services of this process have noticed. Where several callers leave at one
/// time, one may be taken for another.
pub async fn leave<T>(call: JoinHandle<T>) {
    let before = cancelled();
    call.abort();
    let deadline = Instant::now() + PATIENCE;
    while cancelled() == before {
        assert!(Instant::now() < deadline, "the service did not notice");
        sleep(BETWEEN_LOOKS).await;
    }
}

/// How many calls the services have seen end without their callers.
fn cancelled() -> u64 {
    let metrics = metrics::install().render();
    let counters = metrics.lines().filter(|line| line.starts_with("grpc_server_handled_total{"));
    let cancelled = counters.filter(|line| line.contains("grpc_code=\"CANCELLED\""));
    cancelled.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
