//! What both databases say of each replica, asked as their superusers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tandem_convergence::leftover;
use tandem_replication::{
    ConflictCount, Drift, Judge, PrimaryLook, ReplicaLook, STUCK_AFTER, Slot, State, SubscribedTable, Subscription,
    Verdict,
};
use tandem_upkeep::{Addresses, Conflict, conflicts};

use super::apply_log;
use crate::postgres::{ReplicaNumber, postmaster};
use crate::running::{ReplicaState, SideState};
use crate::terminal;

/// How long the databases may take to answer before the replication counts as unknown.
const REPLICATION_LIMIT: Duration = Duration::from_secs(5);
/// How long the search for rows in the way may take: of a backlog of 100,000 changes it is a second or two.
const SEARCH_LIMIT: Duration = Duration::from_secs(20);
/// Between looks at a replica of which it is not known yet whether it moves.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// So long a replica is looked at until it is known whether it moves.
const PATIENCE: Duration = STUCK_AFTER.saturating_add(Duration::from_secs(2));

/// What is remembered of each replica from look to look.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    judges: BTreeMap<ReplicaNumber, Judge>,
}

/// What both databases say of one replica.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ReplicationStatus {
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Its name, which is the slot's, too.
    pub subscription: String,
    pub enabled: bool,
    pub apply_worker_running: bool,
    pub apply_errors: i64,
    pub sync_errors: i64,
    /// Counted from PostgreSQL 18 on.
    pub conflicts: Vec<ConflictCount>,
    /// Why the apply worker fails, while it does.
    pub failure: Option<Failure>,
    pub tables: Vec<TableStatus>,
    /// What the primary publishes, as schema.table.
    pub published: Vec<String>,
    pub slot: String,
    pub slot_active: bool,
    pub active_pid: Option<i32>,
    /// `reserved`, `extended`, `unreserved` or `lost`, as the primary says.
    pub wal_status: Option<String>,
    /// WAL that the primary keeps for it.
    pub retained_wal_bytes: Option<i64>,
    /// WAL that may still be written before it is in danger; none where there is no limit.
    pub safe_wal_bytes: Option<i64>,
    /// WAL that is safe on the primary and not visible on the replica.
    pub lag_bytes: Option<u64>,
    /// How long ago the replica last had everything.
    pub behind_seconds: Option<f64>,
    /// The age of the newest watermark.
    pub staleness_seconds: Option<f64>,
    pub drifts: Vec<DriftStatus>,
    /// Slots that nobody reads and nobody is known to.
    pub orphan_slots: Vec<Slot>,
    /// Sales that the rollups do not hold yet as they are; 10,001 for more than 10,000.
    pub rollup_backlog_sales: i64,
}

/// Why changes can't be applied.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Failure {
    /// Rows of the replica that stand in the way, found by looking.
    pub in_the_way: Vec<Conflict>,
    /// Why they were not looked for.
    pub not_looked: Option<String>,
    /// What the replica's log said last.
    pub log: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct TableStatus {
    #[serde(rename = "table")]
    pub name: String,
    pub state: tandem_replication::TableState,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct DriftStatus {
    #[serde(flatten)]
    pub drift: Drift,
    pub difference: String,
    pub stops_apply: bool,
}

impl Replicas {
    /// What both sides say of each replica, or which one says nothing. With `patience`, until it is known whether it moves.
    pub async fn look(
        &mut self,
        primary: &SideState,
        replicas: &[ReplicaState],
        patience: bool,
    ) -> Vec<Result<ReplicationStatus, String>> {
        let known: Vec<String> = replicas.iter().map(|replica| replica.number.subscription()).collect();
        for replica in replicas {
            let judge = || Judge::new(replica.number.subscription(), known.clone());
            self.judges.entry(replica.number).or_insert_with(judge);
        }
        let find = |number| replicas.iter().find(|replica| replica.number == number);
        let looks = self.judges.iter_mut().filter_map(|(number, judge)| {
            let replica = find(*number)?;
            Some(until_settled(primary, &replica.server, *number, judge, patience))
        });
        // In the order of their numbers, as `replicas` is.
        join_all(looks).await
    }
}

async fn until_settled(
    primary: &SideState,
    replica: &SideState,
    number: ReplicaNumber,
    judge: &mut Judge,
    patience: bool,
) -> Result<ReplicationStatus, String> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let seen = both(primary, replica, number, judge).await?;
        if !patience || seen.verdict.settled || begun.elapsed() > PATIENCE {
            return Ok(seen);
        }
        if !std::mem::replace(&mut told, true) {
            terminal::note(&format!("{} is behind; looking whether it moves …", number.name()));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

async fn both(
    primary: &SideState,
    replica: &SideState,
    number: ReplicaNumber,
    judge: &mut Judge,
) -> Result<ReplicationStatus, String> {
    let down = |side: &SideState| postmaster(&side.data_directory).is_none();
    match (down(primary), down(replica)) {
        (true, true) => return Err("both databases are down".to_owned()),
        (true, false) => return Err("the primary is down".to_owned()),
        (false, true) => return Err("the replica is down".to_owned()),
        (false, false) => {}
    }
    let asked = async {
        let (mut primary, mut replica) = (connect(primary).await?, connect(replica).await?);
        ask(&mut primary, &mut replica, number, judge).await
    };
    match tokio::time::timeout(REPLICATION_LIMIT, asked).await {
        Ok(Ok(mut seen)) => {
            if matches!(seen.verdict.state, State::Failing | State::Stuck) {
                seen.failure = Some(why(primary, replica, &seen.subscription).await);
            }
            Ok(seen)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", REPLICATION_LIMIT.as_secs())),
    }
}

async fn ask(
    primary: &mut PgConnection,
    replica: &mut PgConnection,
    number: ReplicaNumber,
    judge: &mut Judge,
) -> Result<ReplicationStatus, sqlx::Error> {
    let name = number.subscription();
    // The primary first: a replica at work would look late by what came in between.
    let there = PrimaryLook::now(primary).await?;
    let here = ReplicaLook::now(&mut *replica, &name, &there.tables()).await?;
    let mut verdict = judge.judge(Some(&there), &here, Instant::now());
    // Those that a session still holds, which has been silent for long, look to others as if they were in use.
    let silent = leftover::find(&mut *primary, leftover::SILENT_FOR).await?;
    let silent: Vec<_> = silent.into_iter().filter(|left| left.pid.is_some()).collect();
    verdict.also.extend(silent.iter().map(ToString::to_string));
    let rollup_backlog_sales = sqlx::query_scalar(
        "select cardinality(tandem.changed_sales(folded_xid, sweep_xid, sweep_id, 10001))::bigint \
         from tandem.fold where is_current",
    )
    .fetch_one(replica)
    .await?;
    let is_silent = |slot: &&Slot| silent.iter().any(|left| left.slot == slot.name);
    let orphan_slots = judge.orphans(&there).chain(there.slots.iter().filter(is_silent)).cloned().collect();
    Ok(ReplicationStatus { rollup_backlog_sales, orphan_slots, ..status(name, &there, &here, verdict) })
}

fn status(name: String, there: &PrimaryLook, here: &ReplicaLook, verdict: Verdict) -> ReplicationStatus {
    let slot = there.slot(&name);
    let subscription = here.subscription.as_ref();
    let count = |of: fn(&Subscription) -> i64| subscription.map(of).unwrap_or_default();
    let table = |SubscribedTable { name, state }: &SubscribedTable| TableStatus { name: name.clone(), state: *state };
    let now = chrono::Utc::now();
    let age = here.watermark.map(|watermark| (now - watermark.written_at).as_seconds_f64().max(0.0));
    let drift =
        |drift: Drift| DriftStatus { difference: drift.to_string(), stops_apply: drift.kind.stops_apply(), drift };
    ReplicationStatus {
        enabled: subscription.is_some_and(|subscription| subscription.enabled),
        apply_worker_running: subscription.is_some_and(|subscription| subscription.progress.running),
        apply_errors: count(|subscription| subscription.apply_errors),
        sync_errors: count(|subscription| subscription.sync_errors),
        conflicts: subscription.map(|subscription| subscription.conflicts.clone()).unwrap_or_default(),
        failure: None,
        tables: subscription.iter().flat_map(|subscription| &subscription.tables).map(table).collect(),
        published: there.tables(),
        slot: name.clone(),
        slot_active: slot.is_some_and(|slot| slot.active),
        active_pid: slot.and_then(|slot| slot.active_pid),
        wal_status: slot.and_then(|slot| slot.wal_status.clone()),
        retained_wal_bytes: slot.map(|slot| slot.retained_wal_bytes),
        safe_wal_bytes: slot.and_then(|slot| slot.safe_wal_bytes),
        lag_bytes: here.position().map(|position| there.flushed.bytes_since(position)),
        behind_seconds: verdict.behind_for.map(|behind| behind.as_secs_f64()),
        staleness_seconds: age,
        drifts: here.drifts(there).into_iter().map(drift).collect(),
        orphan_slots: Vec::new(),
        rollup_backlog_sales: 0,
        subscription: name,
        verdict,
    }
}

async fn why(primary: &SideState, replica: &SideState, subscription: &str) -> Failure {
    let addresses = Addresses {
        primary_url: primary.admin_url.clone(),
        replica_url: replica.admin_url.clone(),
        subscription: subscription.to_owned(),
    };
    let log = apply_log::last_failure(&replica.data_directory);
    match tokio::time::timeout(SEARCH_LIMIT, conflicts(&addresses)).await {
        Ok(Ok(in_the_way)) => Failure { in_the_way, not_looked: None, log },
        Ok(Err(error)) => Failure { in_the_way: Vec::new(), not_looked: Some(error.with_causes()), log },
        Err(_elapsed) => {
            let why = format!("it took longer than {} s", SEARCH_LIMIT.as_secs());
            Failure { in_the_way: Vec::new(), not_looked: Some(why), log }
        }
    }
}

async fn connect(side: &SideState) -> Result<PgConnection, sqlx::Error> {
    side.admin_url.parse::<PgConnectOptions>()?.connect().await
}
