//! A primary and all of its replicas, as their administrators.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};
use tandem_convergence::{Options, Report, Side, check_observed};
use tandem_replication::{Lsn, Subscription};
use tokio::time::sleep;

use crate::error::{UpkeepError, on};
use crate::sides::{Step, connect, lock};

/// Between looks at how far a replica is.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// A change of shape waits for its lock so long, and every caller behind it: too short to be noticed.
const LOCK_TIMEOUT_MS: u32 = 200;
/// After a lock that was not to be had, so that callers get on in between.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);
/// A minute of attempts: who holds a table for longer is told of.
const ATTEMPTS: usize = 150;

/// Where a primary and its replicas are, each as its administrator.
#[derive(Clone, Debug)]
pub struct PairAddresses {
    /// The primary.
    pub primary_url: String,
    /// Every replica of it.
    pub replicas: Vec<ReplicaAddress>,
}

/// Where a replica is.
#[derive(Clone, Debug)]
pub struct ReplicaAddress {
    /// Its URL.
    pub url: String,
    /// Its subscription, and the slot of that name on the primary.
    pub subscription: String,
}

pub(super) struct Pair {
    pub(super) primary: PgConnection,
    pub(super) replicas: Vec<(PgConnection, ReplicaAddress)>,
    primary_url: String,
}

impl Pair {
    pub(super) async fn connect(addresses: &PairAddresses) -> Result<Self, UpkeepError> {
        let mut primary = connect(Side::Primary, &addresses.primary_url).await?;
        lock(&mut primary, Side::Primary).await?;
        let mut replicas = Vec::new();
        for address in &addresses.replicas {
            let mut replica = connect(Side::Replica, &address.url).await?;
            // A table that is built anew is built in the shape that it has now.
            lock(&mut replica, Side::Replica).await?;
            replicas.push((replica, address.clone()));
        }
        Ok(Self { primary, replicas, primary_url: addresses.primary_url.clone() })
    }

    /// Waits until every replica has applied everything that has committed before.
    pub(super) async fn settle(&mut self, observe: &(impl Fn(&Step) + Sync)) -> Result<(), UpkeepError> {
        let failed = on(Side::Primary, "writing a message");
        let emit = "select pg_logical_emit_message(true, 'tandem', '')";
        sqlx::query(emit).execute(&mut self.primary).await.map_err(failed)?;
        let position: Lsn = sqlx::query_scalar("select pg_current_wal_flush_lsn()")
            .fetch_one(&mut self.primary)
            .await
            .map_err(failed)?;
        for (replica, address) in &mut self.replicas {
            observe(&Step::WaitingForApply(position));
            loop {
                let found = Subscription::find(replica, &address.subscription).await;
                let found = found.map_err(on(Side::Replica, "reading the subscription"))?;
                let applied = found.and_then(|found| found.progress.applied_lsn);
                if applied.is_some_and(|applied| applied >= position) {
                    break;
                }
                sleep(BETWEEN_LOOKS).await;
            }
        }
        Ok(())
    }

    pub(super) async fn verify(
        &self,
        options: &Options,
        observe: &(impl Fn(&Step) + Sync),
    ) -> Result<Vec<Report>, UpkeepError> {
        let mut reports = Vec::new();
        for (_, address) in &self.replicas {
            let options = Options { subscription: address.subscription.clone(), ..options.clone() };
            let observe = |phase: &tandem_convergence::Phase| observe(&Step::Verifying(phase.to_string()));
            reports.push(check_observed(&self.primary_url, &address.url, &options, observe).await?);
        }
        Ok(reports)
    }
}

/// Runs a statement that locks a table, without making others wait for it.
pub(super) async fn alter(connection: &mut PgConnection, side: Side, statement: &str) -> Result<(), UpkeepError> {
    for _ in 0..ATTEMPTS {
        let statement = format!("set lock_timeout = {LOCK_TIMEOUT_MS}; {statement}");
        let Err(error) = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await else { return Ok(()) };
        let code = error.as_database_error().and_then(|error| error.code());
        if code.as_deref() != Some("55P03") {
            return Err(on(side, "changing a table")(error));
        }
        sleep(BETWEEN_ATTEMPTS).await;
    }
    Err(UpkeepError::InUse { table: statement.to_owned() })
}
