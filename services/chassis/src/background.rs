//! Tasks that must live as long as the service: a watcher, a heartbeat, lanes, the metrics port.
//!
//! A service whose heartbeat has died in silence looks healthy and is not. So an early end of any of them triggers the
//! service's [`Shutdown`], the server drains, and [`Background::finish`] says which task it was.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::metrics;
use crate::shutdown::Shutdown;

/// What services give [`Background::finish`]: long enough for a batch and a last watermark on a healthy database, and
/// short beside [`AFTER_DRAIN_LIMIT`](crate::settings::AFTER_DRAIN_LIMIT), which it takes twice at most.
pub const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// A task that must live as long as the service did not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackgroundError {
    /// It returned before the service was told to end.
    #[error("the background task {task:?} ended early")]
    EndedEarly {
        /// Its name.
        task: &'static str,
    },
    /// It failed.
    #[error("the background task {task:?} failed")]
    Failed {
        /// Its name.
        task: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It panicked, or somebody aborted it.
    #[error("the background task {task:?} panicked")]
    Panicked {
        /// Its name.
        task: &'static str,
        /// The panic's words.
        source: JoinError,
    },
}

/// The background tasks of one service. Dropping it aborts them.
#[derive(Debug)]
pub struct Background {
    shutdown: Shutdown,
    stop: Shutdown,
    /// One watch of each task, which gives back the task's name and what was wrong with its end.
    watches: JoinSet<(&'static str, Option<BackgroundError>)>,
    /// Names of the tasks that still run and end with the calls.
    draining: Vec<&'static str>,
    /// Names of the tasks that still run and end when they are told to.
    serving: Vec<&'static str>,
    failures: Vec<BackgroundError>,
}

impl Background {
    /// No tasks yet. An early end of one will trigger `shutdown`, the service's own.
    #[must_use]
    pub fn new(shutdown: &Shutdown) -> Self {
        Self {
            shutdown: shutdown.clone(),
            stop: Shutdown::new(),
            watches: JoinSet::new(),
            draining: Vec::new(),
            serving: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// What tells the tasks to end: triggered by [`finish`](Self::finish), after the drain, since calls that are being
    /// drained still need them.
    #[must_use]
    pub fn stop(&self) -> Shutdown {
        self.stop.clone()
    }

    /// Starts a task that runs until [`stop`](Self::stop) is triggered. Must be called inside a tokio runtime.
    pub fn spawn(&mut self, task: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn_fallible(task, async {
            work.await;
            Ok(())
        });
    }

    /// Serves the process's metrics on `listener` until [`stop`](Self::stop) is triggered, as the task `metrics`. Must
    /// be called inside a tokio runtime.
    pub fn serve_metrics(&mut self, listener: TcpListener) {
        let work = metrics::serve(listener, metrics::install(), self.stop());
        self.spawn_fallible("metrics", work);
    }

    /// Watches a task that ends by itself once the calls are over: lanes that end with the last sender of commands.
    /// [`finish`](Self::finish) waits for it before it stops the others.
    pub fn drain(&mut self, task: &'static str, handle: JoinHandle<()>) {
        self.draining.push(task);
        let handle = AbortOnDropHandle::new(handle);
        self.watches.spawn(watch(task, async { handle.await.map(Ok) }, self.shutdown.clone()));
    }

    /// Waits for the tasks that end with the calls, then stops the others and waits for them. Each of the two steps
    /// takes `limit` at most; what is not done then is aborted, with a line in the log. For the time after the server
    /// has drained; triggers the service's shutdown if nobody has.
    ///
    /// # Errors
    /// The first task that ended early, failed or panicked; any further one is logged.
    pub async fn finish(mut self, limit: Duration) -> Result<(), BackgroundError> {
        self.shutdown.trigger();
        self.join_while(limit, |tasks| !tasks.draining.is_empty()).await;
        self.stop.trigger();
        self.join_while(limit, |tasks| !tasks.watches.is_empty()).await;
        let mut failures = std::mem::take(&mut self.failures).into_iter();
        let first = failures.next();
        for error in failures {
            tracing::error!(error = &error as &dyn std::error::Error, "one more background task failed");
        }
        first.map_or(Ok(()), Err)
    }

    fn spawn_fallible(&mut self, task: &'static str, work: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.serving.push(task);
        let handle = AbortOnDropHandle::new(tokio::spawn(work));
        self.watches.spawn(watch(task, handle, self.shutdown.clone()));
    }

    async fn join_while(&mut self, limit: Duration, waiting: impl Fn(&Self) -> bool) {
        let end = Instant::now() + limit;
        while waiting(self) {
            match timeout_at(end, self.watches.join_next()).await {
                Ok(Some(Ok((task, failure)))) => {
                    self.draining.retain(|name| *name != task);
                    self.serving.retain(|name| *name != task);
                    self.failures.extend(failure);
                }
                Ok(Some(Err(never))) => unreachable!("a watch only waits, and nobody aborts it: {never}"),
                Ok(None) => return,
                Err(_) => {
                    let tasks = [self.draining.as_slice(), self.serving.as_slice()].concat().join(", ");
                    tracing::warn!(tasks, "background tasks were still under way at exit");
                    return;
                }
            }
        }
    }
}

/// Waits for the end of `task`. One that comes too soon is the end of the service.
async fn watch(
    task: &'static str,
    ended: impl Future<Output = Result<io::Result<()>, JoinError>>,
    shutdown: Shutdown,
) -> (&'static str, Option<BackgroundError>) {
    let failure = match ended.await {
        Ok(Ok(())) if shutdown.is_triggered() => return (task, None),
        Ok(Ok(())) => BackgroundError::EndedEarly { task },
        Ok(Err(source)) => BackgroundError::Failed { task, source },
        Err(source) => BackgroundError::Panicked { task, source },
    };
    if !shutdown.is_triggered() {
        // The failure itself is told once, by whoever gets it from `finish`.
        tracing::info!(task, "shutting down: a background task has ended");
        shutdown.trigger();
    }
    (task, Some(failure))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::future::{pending, ready};
    use std::sync::{Arc, Mutex};

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    /// Longest wait for anything in these tests.
    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_task_that_ends_early_ends_the_service_and_is_named() {
        let shutdown = Shutdown::new();
        let mut background = Background::new(&shutdown);
        let stop = background.stop();
        background.spawn("watcher", async move { stop.triggered().await });
        background.spawn("heartbeat", ready(()));
        timeout(PATIENCE, shutdown.triggered()).await.expect("an early end triggers the shutdown");
        let error = background.finish(PATIENCE).await.unwrap_err();
        assert!(matches!(error, BackgroundError::EndedEarly { task: "heartbeat" }), "{error:?}");
    }

    #[tokio::test]
    async fn a_panic_ends_the_service_and_is_told_with_its_words() {
        let shutdown = Shutdown::new();
        let mut background = Background::new(&shutdown);
        background.drain("lanes", tokio::spawn(async { panic!("the lane is blocked") }));
        timeout(PATIENCE, shutdown.triggered()).await.expect("a panic triggers the shutdown");
        let error = background.finish(PATIENCE).await.unwrap_err();
        assert!(matches!(error, BackgroundError::Panicked { task: "lanes", .. }), "{error:?}");
        assert!(error.source().unwrap().to_string().contains("the lane is blocked"), "{error:?}");
    }

    #[tokio::test]
    async fn a_panic_after_the_drain_counts_too() {
        let mut background = Background::new(&Shutdown::new());
        let stop = background.stop();
        background.spawn("heartbeat", async move {
            stop.triggered().await;
            panic!("the last beat failed");
        });
        let error = background.finish(PATIENCE).await.unwrap_err();
        assert!(matches!(error, BackgroundError::Panicked { task: "heartbeat", .. }), "{error:?}");
    }

    #[tokio::test]
    async fn others_are_stopped_only_when_what_drains_has_ended() {
        let shutdown = Shutdown::new();
        let mut background = Background::new(&shutdown);
        let order = Arc::new(Mutex::new(Vec::new()));
        let (last_sender, over) = oneshot::channel::<()>();
        let lanes = order.clone();
        background.drain(
            "lanes",
            tokio::spawn(async move {
                over.await.unwrap_err();
                // A stop that came too soon would let the heartbeat go first.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                lanes.lock().unwrap().push("lanes");
            }),
        );
        let (heartbeat, stop) = (order.clone(), background.stop());
        background.spawn("heartbeat", async move {
            stop.triggered().await;
            heartbeat.lock().unwrap().push("heartbeat");
        });
        shutdown.trigger();
        drop(last_sender);
        background.finish(PATIENCE).await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["lanes", "heartbeat"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_left_behind_after_the_limit() {
        let mut background = Background::new(&Shutdown::new());
        let (alive, aborted) = oneshot::channel::<()>();
        background.drain(
            "lanes",
            tokio::spawn(async move {
                let _alive = alive;
                pending::<()>().await;
            }),
        );
        let before = Instant::now();
        background.finish(FINISH_LIMIT).await.unwrap();
        assert_eq!(before.elapsed(), 2 * FINISH_LIMIT);
        timeout(PATIENCE, aborted).await.expect("it is aborted").unwrap_err();
    }

    #[tokio::test]
    async fn metrics_are_served_until_the_end() {
        let mut background = Background::new(&Shutdown::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        background.serve_metrics(listener);
        tokio::net::TcpStream::connect(address).await.unwrap();
        let before = Instant::now();
        background.finish(PATIENCE).await.unwrap();
        assert!(before.elapsed() < PATIENCE / 2, "it ends when it is told to");
        tokio::net::TcpStream::connect(address).await.unwrap_err();
    }
}
