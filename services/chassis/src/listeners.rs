//! The two ports of a service: gRPC and metrics.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

/// An address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address} for {purpose}: choose another address by flag or variable (see --help)")]
pub struct ListenError {
    address: SocketAddr,
    purpose: &'static str,
    source: io::Error,
}

/// Bound ports: connections queue from now on, until they are served.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For Prometheus metrics.
    pub metrics: TcpListener,
}

impl Listeners {
    /// Listens on both addresses; port 0 takes any free one.
    ///
    /// # Errors
    /// An address is taken or not this machine's.
    pub async fn bind(grpc: SocketAddr, metrics: SocketAddr) -> Result<Self, ListenError> {
        Ok(Self { grpc: bind(grpc, "gRPC").await?, metrics: metrics_alone(metrics).await? })
    }

    /// The addresses for gRPC and for metrics, with the ports that were taken.
    ///
    /// # Errors
    /// The system does not say.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.grpc.local_addr()?, self.metrics.local_addr()?))
    }
}

/// Listens for Prometheus, in a process that answers no gRPC; port 0 takes any free one.
///
/// # Errors
/// The address is taken or not this machine's.
pub async fn metrics_alone(address: SocketAddr) -> Result<TcpListener, ListenError> {
    bind(address, "metrics").await
}

async fn bind(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, purpose, source })
}
