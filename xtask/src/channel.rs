//! A connection to a service of the pair.

use std::time::Duration;

use anyhow::Context;
use tonic::transport::{Channel, Endpoint};

/// A local service answers at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A stream whose other side has gone without a word is found out by these: how often it is asked, and how long an
/// answer may take.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to the `service` (command or query) at `address`, `host:port` or a URL. Renewed by itself when it breaks.
pub(crate) async fn connect(service: &str, address: &str) -> anyhow::Result<Channel> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url).with_context(|| format!("{address} is no host:port and no URL"))?;
    let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE_INTERVAL).keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true).connect().await;
    channel.with_context(|| {
        format!(
            "no {service} service answers at {address}: start one with `cargo xtask up`, or name it with \
             --{service}-address"
        )
    })
}
