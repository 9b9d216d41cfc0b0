//! `grpc.health.v1`: whether this process and each of its services can do their work.
//!
//! A condition concerns the whole process or one of its services. The process (the empty name) serves while every condition
//! of the process holds and it is not draining; a service serves while the process does and every condition of its own holds.
//! So a condition of one service takes that service out of a load balancer, and neither its neighbours nor the process: what
//! a new process would not heal must not make an orchestrator start one. All start NOT_SERVING, since a condition does not
//! hold until somebody says so.

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
    /// What was last published of each name; held while publishing, so that the newest state is also the last.
    published: tokio::sync::Mutex<Vec<bool>>,
}

/// The empty name: the process as a whole.
const PROCESS: &str = "";

#[derive(Debug, Default)]
struct Conditions {
    /// Whom a condition concerns and its name; whether it holds.
    holds: BTreeMap<(&'static str, &'static str), bool>,
    draining: bool,
}

impl Conditions {
    /// Whether all that concerns `name` holds. A process without a condition of its own never serves.
    fn serving(&self, name: &str) -> bool {
        let hold = |of: &str| self.holds.iter().filter(|((whom, _), _)| *whom == of).all(|(_, holds)| *holds);
        let known = self.holds.keys().any(|(whom, _)| *whom == PROCESS);
        !self.draining && known && hold(PROCESS) && hold(name)
    }
}

impl Health {
    /// The health of a process with these services, all NOT_SERVING, and the gRPC server that
    /// tells it; add the server to the routes.
    #[must_use]
    pub fn new(services: &[&'static str]) -> (Self, HealthServer<HealthService>) {
        let reporter = HealthReporter::new();
        let mut names = vec![PROCESS];
        names.extend_from_slice(services);
        for name in &names {
            // A new reporter says SERVING for the whole process, and nobody has asked yet.
            let report = reporter.set_service_status(name, ServingStatus::NotServing);
            tokio::task::unconstrained(report)
                .now_or_never()
                .expect("nobody else holds the new reporter's lock, so it is had at once");
        }
        let server = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let published = tokio::sync::Mutex::new(vec![false; names.len()]);
        let inner = Arc::new(Inner { reporter, names, conditions: Mutex::default(), published });
        (Self { inner }, server)
    }

    /// Registers one more condition of the whole process. It does not hold until it is
    /// [`set`](Condition::set); register all conditions before the server starts.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        self.condition_of(PROCESS, name)
    }

    /// Registers one more condition of one service, which is one of those that [`new`](Self::new) was told. The process
    /// and its other services don't care for it. Otherwise like [`condition`](Self::condition).
    #[must_use]
    pub fn condition_of(&self, service: &'static str, name: &'static str) -> Condition {
        debug_assert!(self.inner.names.contains(&service), "the health of {service:?} is not told");
        self.change(|conditions| {
            conditions.holds.insert((service, name), false);
        });
        let health = self.clone();
        Condition { health, of: (service, name) }
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

    /// Whether the process as a whole says SERVING.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.change(|conditions| conditions.serving(PROCESS))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Conditions) -> T) -> T {
        let conditions = self.inner.conditions.lock();
        // Nothing that runs under this lock can leave it half-changed.
        change(&mut conditions.unwrap_or_else(PoisonError::into_inner))
    }

    async fn publish(&self) {
        let mut published = self.inner.published.lock().await;
        let names = &self.inner.names;
        let serving: Vec<bool> = self.change(|conditions| names.iter().map(|name| conditions.serving(name)).collect());
        for (status, said, wanted) in
            [(ServingStatus::Serving, "SERVING", true), (ServingStatus::NotServing, "NOT_SERVING", false)]
        {
            let states = names.iter().zip(serving.iter().zip(published.iter()));
            let changed: Vec<_> =
                states.filter(|(_, (now, before))| **now == wanted && now != before).map(|(name, _)| *name).collect();
            for name in &changed {
                self.inner.reporter.set_service_status(name, status).await;
            }
            if !changed.is_empty() {
                tracing::info!(status = said, of = list(&changed), "health changed");
            }
        }
        *published = serving;
    }
}

/// One line for those that change together.
fn list(names: &[&'static str]) -> String {
    let names: Vec<_> = names.iter().map(|name| if *name == PROCESS { "the process" } else { name }).collect();
    names.join(", ")
}

/// One thing that must hold for the process, or one of its services, to serve.
#[derive(Debug)]
pub struct Condition {
    health: Health,
    /// Whom it concerns, and its name.
    of: (&'static str, &'static str),
}

impl Condition {
    /// Says whether the condition holds now, and publishes what follows from it.
    pub async fn set(&self, holds: bool) {
        self.health.change(|conditions| {
            conditions.holds.insert(self.of, holds);
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
    async fn a_condition_of_one_service_concerns_neither_the_process_nor_its_other_services() {
        let (health, _server) = Health::new(&["a.v1.A", "b.v1.B"]);
        let serving = || ["", "a.v1.A", "b.v1.B"].map(|name| health.change(|conditions| conditions.serving(name)));
        let fresh = health.condition_of("a.v1.A", "fresh");
        fresh.set(true).await;
        assert_eq!(serving(), [false; 3], "nothing is known of the process");
        let database = health.condition("database");
        database.set(true).await;
        assert_eq!(serving(), [true; 3]);
        fresh.set(false).await;
        assert_eq!(serving(), [true, false, true]);
        assert_eq!(*health.inner.published.lock().await, [true, false, true]);
        fresh.set(true).await;
        database.set(false).await;
        assert_eq!(serving(), [false; 3]);
        assert_eq!(*health.inner.published.lock().await, [false; 3]);
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
