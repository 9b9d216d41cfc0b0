//! Serving until shutdown, then draining.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::health::Health;
use crate::layers::{self, CallsInFlight};
use crate::settings::ServerSettings;
use crate::shutdown::Shutdown;

/// How often an open connection is pinged when nothing else moves: often enough to notice a peer
/// that vanished before a NAT box forgets the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long a pinged peer may stay silent before its connection is closed.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Once the calls are cut off, their last words get this long to leave. A client that does not
/// read must not hold the process.
pub(crate) const LAST_WORDS_LIMIT: Duration = Duration::from_secs(1);

/// Why serving ended other than by shutdown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The transport gave up.
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves `routes` on `listener` inside all [`layers`] until shutdown, then drains: health says
/// NOT_SERVING, the listener closes, open connections are told to go away (GOAWAY), and calls in
/// flight may finish within `drain_timeout`. Calls that do not are cut off with UNAVAILABLE, and a
/// log line says how many.
///
/// The routes contain the server of [`Health::new`]; each generated service in them has its own
/// `max_decoding_message_size`. When this returns, `shutdown` has been triggered, also when nobody did so before.
///
/// # Errors
/// The transport failed.
pub async fn serve(
    settings: &ServerSettings,
    listener: TcpListener,
    routes: Routes,
    health: Health,
    shutdown: Shutdown,
    error_domain: &'static str,
) -> Result<(), ServeError> {
    let calls = CallsInFlight::new();
    let stop = CancellationToken::new();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(max_streams(settings))
        .layer(layers::stack(settings, error_domain, &calls))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tokio::pin!(server);

    tokio::select! {
        ended = &mut server => {
            // Whatever ends with the calls must not look as if it had ended early.
            shutdown.trigger();
            return Ok(ended?);
        }
        () = shutdown.triggered() => {}
    }
    health.drain().await;
    calls.drain();
    stop.cancel();
    tracing::info!(calls = calls.count(), "draining");
    if let Ok(ended) = timeout(settings.drain_timeout, &mut server).await {
        tracing::info!("drained");
        return Ok(ended?);
    }
    let cut_off = calls.cut_off();
    tracing::warn!(calls = cut_off, "the drain time is over; calls were cut off");
    match timeout(LAST_WORDS_LIMIT, &mut server).await {
        Ok(ended) => Ok(ended?),
        Err(_) => {
            tracing::warn!("connections whose peers do not read were left open");
            Ok(())
        }
    }
}

/// Streams one connection may open: twice the calls the process takes at all, so that a single
/// client hears OVERLOADED as documented instead of queueing unseen, and still bounded.
fn max_streams(settings: &ServerSettings) -> u32 {
    let calls = u32::try_from(settings.max_concurrent_requests.get()).unwrap_or(u32::MAX);
    calls.saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{background, database, settings, telemetry};

    #[test]
    fn what_follows_the_drain_fits_into_the_time_that_help_says() {
        let most = LAST_WORDS_LIMIT + 2 * background::FINISH_LIMIT + database::CLOSE_LIMIT + telemetry::FLUSH_LIMIT;
        assert!(most < settings::AFTER_DRAIN_LIMIT, "{most:?}");
    }
}
