//! The one signal that ends the process. Everything that runs for as long as the process does
//! holds a clone and stops when it is triggered.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A clonable handle of the process's end; all clones see the same trigger.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A handle that only [`trigger`](Self::trigger) fires, for tests and embedding.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle that SIGTERM and SIGINT fire. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The operating system refused the signal handlers.
    pub fn on_signal() -> io::Result<Self> {
        // Registered before the task starts: a signal that comes right after this call counts.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::new();
        let on_signal = shutdown.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                () = on_signal.triggered() => return,
            };
            tracing::info!(signal = name, "shutting down");
            on_signal.trigger();
        });
        Ok(shutdown)
    }

    /// Starts the end. Further calls do nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Resolves once the end has started; may be awaited any number of times.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// Whether the end has started.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_sees_the_trigger_also_afterwards() {
        let shutdown = Shutdown::new();
        let clone = shutdown.clone();
        assert!(!clone.is_triggered());
        shutdown.trigger();
        clone.triggered().await;
        assert!(shutdown.clone().is_triggered());
    }
}
