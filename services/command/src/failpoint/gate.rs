//! What tests make of failpoints.

use std::{
    collections::HashMap,
    env, process,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Failpoint;

/// Names the failpoint at which the process is killed when it first passes there.
const KILL_AT: &str = "TANDEM_KILL_AT";

/// The process's own wish, from its environment.
static KILLED_AT: LazyLock<Option<Failpoint>> = LazyLock::new(|| {
    let name = env::var(KILL_AT).ok()?;
    Some(match name.as_str() {
        "before_begin" => Failpoint::BeforeBegin,
        "before_commit" => Failpoint::BeforeCommit,
        "after_commit" => Failpoint::AfterCommit,
        _ => panic!("{KILL_AT}: there is no failpoint {name:?}"),
    })
});

static GATES: LazyLock<Mutex<HashMap<Failpoint, Arc<Gate>>>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Gate {
    reached: Notify,
    open: CancellationToken,
}

/// Holds everybody who comes to a failpoint of this process until it is dropped.
pub struct Hold {
    at: Failpoint,
    gate: Arc<Gate>,
}

impl Hold {
    /// Closes a failpoint; who has passed it already is not held. Panics when it is closed: two tests would open it for
    /// each other.
    pub fn at(at: Failpoint) -> Self {
        let gate = Arc::new(Gate::default());
        let before = gates().insert(at, Arc::clone(&gate));
        assert!(before.is_none(), "somebody else holds {at:?}");
        Self { at, gate }
    }

    /// Waits until somebody stands there.
    pub async fn reached(&self) {
        self.gate.reached.notified().await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        gates().remove(&self.at);
        self.gate.open.cancel();
    }
}

pub async fn pass(at: Failpoint) {
    if *KILLED_AT == Some(at) {
        kill();
    }
    let gate = gates().get(&at).cloned();
    if let Some(gate) = gate {
        // Kept for a test that looks later.
        gate.reached.notify_one();
        gate.open.cancelled().await;
    }
}

/// A test that failed while it had the lock must not fail the others.
fn gates() -> MutexGuard<'static, HashMap<Failpoint, Arc<Gate>>> {
    GATES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As `kill -9` does it: nothing is flushed, closed or said.
fn kill() -> ! {
    let killed = kill_process(getpid(), Signal::KILL);
    tracing::error!(?killed, "the process outlives its own SIGKILL");
    process::abort();
}
