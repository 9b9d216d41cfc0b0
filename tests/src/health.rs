//! `grpc.health.v1`, as a load balancer asks it.

use std::{net::SocketAddr, time::Duration};

use tokio::time::timeout;
use tonic::{Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::tandem::channel;

/// What the service at `address` says of `name` now; the empty name is the whole process.
pub async fn check(address: SocketAddr, name: &str) -> Result<ServingStatus, Status> {
    let asked = HealthCheckRequest { service: name.to_owned() };
    Ok(HealthClient::new(channel(address)).check(asked).await?.into_inner().status())
}

/// Every change of what the service says of `name`, beginning with what it says now.
pub async fn watch(address: SocketAddr, name: &str) -> Streaming<HealthCheckResponse> {
    let asked = HealthCheckRequest { service: name.to_owned() };
    HealthClient::new(channel(address)).watch(asked).await.expect("health can be watched").into_inner()
}

/// Waits until the service says `wanted` of `name`; panics when it has not within `limit`.
pub async fn until(address: SocketAddr, name: &str, wanted: ServingStatus, limit: Duration) {
    let said = async {
        let mut changes = watch(address, name).await;
        while changes.message().await.expect("the watch goes on").expect("the watch goes on").status() != wanted {}
    };
    timeout(limit, said).await.unwrap_or_else(|_| panic!("{name:?} at {address} is not {wanted:?} after {limit:?}"));
}
