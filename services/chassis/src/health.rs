//! `grpc.health.v1`: whether this process can do its work.
//!
//! A process serves while every registered condition holds and it is not draining. It starts
//! NOT_SERVING, since a condition does not hold until somebody says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{MissedTickBehavior, interval};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::database::{Database, DatabaseError};
use crate::shutdown::Shutdown;
use crate::status::chain_of;

/// How often the database is asked: a failure is known within a second, and one `select 1` a
/// second costs the database nothing.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How long the database may take to answer `select 1` before it counts as away.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The health of the process. Clones speak of the same process.
#[derive(Debug, Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    reporter: HealthReporter,
    /// The process as a whole (the empty name) and each service.
    names: Vec<&'static str>,
    conditions: Mutex<Conditions>,
    /// What was last published; held while publishing, so that the newest state is also the last.
    published: tokio::sync::Mutex<bool>,
}

#[derive(Debug, Default)]
struct Conditions {
    holds: BTreeMap<&'static str, bool>,
    draining: bool,
}

impl Conditions {
    fn serving(&self) -> bool {
        !self.draining && !self.holds.is_empty() && self.holds.values().all(|holds| *holds)
    }
}

impl Health {
    /// The health of a process with these services, all NOT_SERVING, and the gRPC server that
    /// tells it; add the server to the routes.
    #[must_use]
    pub fn new(services: &[&'static str]) -> (Self, HealthServer<HealthService>) {
        let reporter = HealthReporter::new();
        let mut names = vec![""];
        names.extend_from_slice(services);
        for name in &names {
            // A new reporter says SERVING for the whole process, and nobody has asked yet.
            let report = reporter.set_service_status(name, ServingStatus::NotServing);
            tokio::task::unconstrained(report)
                .now_or_never()
                .expect("nobody else holds the new reporter's lock, so it is had at once");
        }
        let server = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let inner = Arc::new(Inner {
            reporter,
            names,
            conditions: Mutex::default(),
            published: tokio::sync::Mutex::new(false),
        });
        (Self { inner }, server)
    }

    /// Registers one more condition of serving. It does not hold until it is
    /// [`set`](Condition::set); register all conditions before the server starts.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        self.change(|conditions| {
            conditions.holds.insert(name, false);
        });
        let health = self.clone();
        Condition { health, name }
    }

    /// Registers the condition that `database` answers, and asks it at once and every second, in a
    /// task of its own, until shutdown.
    pub fn watch_database(&self, database: Database, shutdown: Shutdown) {
        let condition = self.condition("database");
        tokio::spawn(async move {
            tokio::select! {
                () = probe(&database, &condition) => {}
                () = shutdown.triggered() => {}
            }
        });
    }

    /// NOT_SERVING for good; conditions no longer matter.
    pub async fn drain(&self) {
        self.change(|conditions| conditions.draining = true);
        self.publish().await;
    }

    /// Whether the process says SERVING.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.change(|conditions| conditions.serving())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Conditions) -> T) -> T {
        let conditions = self.inner.conditions.lock();
        // Nothing that runs under this lock can leave it half-changed.
        change(&mut conditions.unwrap_or_else(PoisonError::into_inner))
    }

    async fn publish(&self) {
        let mut published = self.inner.published.lock().await;
        let serving = self.is_serving();
        if *published == serving {
            return;
        }
        let status = match serving {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        for name in &self.inner.names {
            self.inner.reporter.set_service_status(name, status).await;
        }
        *published = serving;
        tracing::info!(status = %status, "health changed");
    }
}

/// One thing that must hold for the process to serve.
#[derive(Debug)]
pub struct Condition {
    health: Health,
    name: &'static str,
}

impl Condition {
    /// Says whether the condition holds now, and publishes what follows from it.
    pub async fn set(&self, holds: bool) {
        self.health.change(|conditions| {
            conditions.holds.insert(self.name, holds);
        });
        self.health.publish().await;
    }
}

async fn probe(database: &Database, condition: &Condition) {
    let mut tick = interval(PROBE_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = None;
    loop {
        tick.tick().await;
        let answer = database.ping(PROBE_TIMEOUT).await;
        let answers = answer.is_ok();
        if answered != Some(answers) {
            report(answer);
            answered = Some(answers);
        }
        condition.set(answers).await;
    }
}

/// One line for each change, not one for each probe.
fn report(answer: Result<(), DatabaseError>) {
    match answer {
        Ok(()) => tracing::info!("the database answers"),
        Err(error) => tracing::warn!(error = chain_of(&error), "the database does not answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_serves_only_while_every_condition_holds() {
        let (health, _server) = Health::new(&["a.v1.A"]);
        assert!(!health.is_serving());
        let database = health.condition("database");
        let fresh = health.condition("fresh");
        database.set(true).await;
        assert!(!health.is_serving());
        fresh.set(true).await;
        assert!(health.is_serving());
        fresh.set(false).await;
        assert!(!health.is_serving());
    }

    #[tokio::test]
    async fn a_draining_process_never_serves_again() {
        let (health, _server) = Health::new(&[]);
        let database = health.condition("database");
        database.set(true).await;
        health.drain().await;
        assert!(!health.is_serving());
        database.set(true).await;
        assert!(!health.is_serving());
    }
}
