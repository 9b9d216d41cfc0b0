//! Ctrl-C, SIGTERM and a closed terminal: seen at any time, acted on where it is safe.

use std::future::Future;

use anyhow::Context;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Somebody asked to stop.
#[derive(Debug, Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Remembers whether somebody asked to stop. Clones share it.
#[derive(Debug, Clone)]
pub struct Interrupt {
    token: CancellationToken,
}

impl Interrupt {
    /// Takes over the signals, which then no longer end the process by themselves.
    pub fn listen() -> anyhow::Result<Interrupt> {
        let token = CancellationToken::new();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signals = signal(kind).context("signals can't be watched")?;
            let token = token.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    token.cancel();
                }
            });
        }
        Ok(Interrupt { token })
    }

    /// An error once somebody has asked to stop: stands before each step that must not be cut off.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.token.is_cancelled() { Err(Interrupted) } else { Ok(()) }
    }

    /// Runs a step that may be cut off.
    pub async fn or<T>(&self, step: impl Future<Output = T>) -> Result<T, Interrupted> {
        self.token.run_until_cancelled(step).await.ok_or(Interrupted)
    }

    /// Cancelled once somebody has asked to stop: for work that can't be dropped.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Returns once somebody has asked to stop.
    pub async fn asked(&self) {
        self.token.cancelled().await;
    }
}
