//! `ReplicationService`: publication, subscription, slots and lag in one answer.

use std::collections::BTreeMap;

use tandem_chassis::deadline::Deadline;
use tandem_proto::{
    sales::query::v1::{
        ConflictCount, GetBatchRequest, GetBatchResponse, GetReplicationStatusRequest, GetReplicationStatusResponse,
        ListBatchesRequest, ListBatchesResponse, OverallState, PrimaryState, Publication, ReplicaOfPrimary,
        ReplicatedTable, ReplicationHealth, ReplicationLag, ReplicationSlot, RollupState, SchemaDrift, Subscription,
        TableState, WaitForBatchRequest, WaitForBatchResponse, replication_service_server::ReplicationService,
    },
    time::to_timestamp,
};
use tandem_replication::{self as replication, PrimaryLook};
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{Batches, encode, status};
use crate::{
    freshness::lag_bytes,
    observation::{Observation, Observer, PrimaryAnswer},
    store::fold::Backlog,
};

/// Tells how replication is doing.
pub struct Replication {
    observer: Observer,
    batches: Batches,
    replica_name: String,
}

impl Replication {
    /// Tells what `observer` sees now; of batches, `batches` tell.
    pub const fn new(observer: Observer, batches: Batches, replica_name: String) -> Self {
        Self { observer, batches, replica_name }
    }
}

#[tonic::async_trait]
impl ReplicationService for Replication {
    async fn get_replication_status(
        &self,
        request: Request<GetReplicationStatusRequest>,
    ) -> Result<Response<GetReplicationStatusResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let seen = self.observer.look(deadline).await.map_err(status::of)?;
        let rollups = self.observer.backlog(deadline).await;
        let primary = seen.primary.look();
        Ok(Response::new(GetReplicationStatusResponse {
            replica_name: self.replica_name.clone(),
            tables: tables(primary, seen.replica.subscription.as_ref()),
            lag: Some(lag(&seen)),
            publication: primary.and_then(|primary| primary.publication.as_ref()).map(publication),
            replicas: primary.map(|primary| replicas(primary, &seen.subscription)).unwrap_or_default(),
            slot: seen.slot().map(slot),
            health: Some(health(&seen.verdict)),
            drifts: seen.drifts.iter().map(drift).collect(),
            orphan_slots: seen.orphans.iter().map(slot).collect(),
            primary_state: primary_state(&seen.primary).into(),
            subscription: seen.replica.subscription.map(subscription),
            rollups: rollups.map(self::rollups),
        }))
    }

    async fn list_batches(
        &self,
        request: Request<ListBatchesRequest>,
    ) -> Result<Response<ListBatchesResponse>, Status> {
        self.batches.list(request).await
    }

    async fn get_batch(&self, request: Request<GetBatchRequest>) -> Result<Response<GetBatchResponse>, Status> {
        self.batches.get(request).await
    }

    type WaitForBatchStream = BoxStream<WaitForBatchResponse>;

    async fn wait_for_batch(
        &self,
        request: Request<WaitForBatchRequest>,
    ) -> Result<Response<Self::WaitForBatchStream>, Status> {
        self.batches.wait(request)
    }
}

const fn primary_state(answer: &PrimaryAnswer) -> PrimaryState {
    match answer {
        PrimaryAnswer::Reached(_) => PrimaryState::Reachable,
        PrimaryAnswer::Unreachable => PrimaryState::Unreachable,
        PrimaryAnswer::NotConfigured => PrimaryState::NotConfigured,
    }
}

fn health(verdict: &replication::Verdict) -> ReplicationHealth {
    ReplicationHealth {
        state: overall_state(verdict.state).into(),
        reason: verdict.reason.clone(),
        also: verdict.also.clone(),
        still: Some(encode::duration(verdict.still_for)),
    }
}

const fn overall_state(state: replication::State) -> OverallState {
    match state {
        replication::State::Unsubscribed => OverallState::Unsubscribed,
        replication::State::Lost => OverallState::Lost,
        replication::State::Disabled => OverallState::Disabled,
        replication::State::Failing => OverallState::Failing,
        replication::State::Disconnected => OverallState::Disconnected,
        replication::State::Stuck => OverallState::Stuck,
        replication::State::Endangered => OverallState::Endangered,
        replication::State::Drifted => OverallState::Drifted,
        replication::State::Unknown => OverallState::Unknown,
        replication::State::Copying => OverallState::Copying,
        replication::State::CatchingUp => OverallState::CatchingUp,
        replication::State::Healthy => OverallState::Healthy,
    }
}

fn drift(drift: &replication::Drift) -> SchemaDrift {
    SchemaDrift {
        table: drift.table.clone(),
        column: drift.column.clone().unwrap_or_default(),
        difference: drift.to_string(),
        stops_apply: drift.kind.stops_apply(),
    }
}

fn tables(primary: Option<&PrimaryLook>, subscription: Option<&replication::Subscription>) -> Vec<ReplicatedTable> {
    let published = primary.into_iter().flat_map(PrimaryLook::tables);
    let mut states: BTreeMap<String, TableState> = published.map(|table| (table, TableState::Unspecified)).collect();
    for table in subscription.into_iter().flat_map(|subscription| &subscription.tables) {
        states.insert(table.name.clone(), table_state(table.state));
    }
    states.into_iter().map(|(name, state)| ReplicatedTable { name, state: state.into() }).collect()
}

const fn table_state(state: replication::TableState) -> TableState {
    match state {
        replication::TableState::Initializing => TableState::Initializing,
        replication::TableState::Copying => TableState::Copying,
        replication::TableState::CatchingUp => TableState::CatchingUp,
        replication::TableState::Ready => TableState::Ready,
        replication::TableState::Unknown => TableState::Unspecified,
    }
}

fn lag(seen: &Observation) -> ReplicationLag {
    let (primary, applied) = (seen.primary.look(), seen.applied);
    let behind = primary.and_then(|primary| lag_bytes(primary.position, applied));
    ReplicationLag {
        bytes: behind.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        staleness: seen.staleness.map(encode::duration),
        primary_lsn: primary.map(|primary| primary.position.lsn.to_string()).unwrap_or_default(),
        replica_lsn: applied.position.map(|position| position.lsn.to_string()).unwrap_or_default(),
        tables_copying: i32::try_from(applied.tables_copying).unwrap_or(i32::MAX),
        behind: seen.behind().map(encode::duration),
    }
}

fn rollups(backlog: Backlog) -> RollupState {
    RollupState {
        backlog_sales: backlog.sales,
        sweeping: backlog.is_sweeping,
        folded_at: Some(to_timestamp(backlog.folded_at)),
    }
}

fn publication(publication: &replication::Publication) -> Publication {
    Publication {
        name: publication.name.clone(),
        tables: publication.tables.iter().map(|table| format!("{}.{}", table.schema, table.name)).collect(),
        operations: publication.operations().into_iter().map(str::to_owned).collect(),
    }
}

fn subscription(subscription: replication::Subscription) -> Subscription {
    let progress = subscription.progress;
    let text = |lsn: Option<replication::Lsn>| lsn.map(|lsn| lsn.to_string()).unwrap_or_default();
    Subscription {
        name: subscription.name,
        enabled: subscription.enabled,
        publications: subscription.publications,
        apply_worker_running: progress.running,
        received_lsn: text(progress.received_lsn),
        applied_lsn: text(progress.applied_lsn),
        last_message_at: progress.last_message_at.map(to_timestamp),
        apply_errors: subscription.apply_errors,
        sync_errors: subscription.sync_errors,
        conflicts: subscription.conflicts.into_iter().map(conflict_count).collect(),
    }
}

fn conflict_count(replication::ConflictCount { kind, count }: replication::ConflictCount) -> ConflictCount {
    ConflictCount { kind, count }
}

/// Everyone who reads from the primary as a replica does, whoever answers.
fn replicas(primary: &PrimaryLook, own: &str) -> Vec<ReplicaOfPrimary> {
    let replica = |found: &replication::Slot| {
        let lag = found.confirmed_flush_lsn.map(|confirmed| primary.position.lsn.bytes_since(confirmed));
        ReplicaOfPrimary {
            lag_bytes: lag.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            answered: own == found.name,
            slot: Some(slot(found)),
        }
    };
    primary.replicas().map(replica).collect()
}

fn slot(slot: &replication::Slot) -> ReplicationSlot {
    let text = |lsn: Option<replication::Lsn>| lsn.map(|lsn| lsn.to_string()).unwrap_or_default();
    ReplicationSlot {
        name: slot.name.clone(),
        active: slot.active,
        wal_status: slot.wal_status.clone().unwrap_or_default(),
        restart_lsn: text(slot.restart_lsn),
        confirmed_flush_lsn: text(slot.confirmed_flush_lsn),
        retained_wal_bytes: slot.retained_wal_bytes,
        safe_wal_bytes: slot.safe_wal_bytes,
        active_pid: slot.active_pid,
        temporary: slot.temporary,
    }
}
