//! `ReplicationService`: publication, subscription, slots and lag in one answer.

use std::collections::BTreeMap;

use tandem_chassis::{database::DatabaseError, deadline::Deadline};
use tandem_proto::{
    sales::query::v1::{
        GetBatchRequest, GetBatchResponse, GetReplicationStatusRequest, GetReplicationStatusResponse,
        ListBatchesRequest, ListBatchesResponse, PrimaryState, Publication, ReplicaOfPrimary, ReplicatedTable,
        ReplicationLag, ReplicationSlot, RollupState, Subscription, TableState, WaitForBatchRequest,
        WaitForBatchResponse, replication_service_server::ReplicationService,
    },
    time::to_timestamp,
};
use tandem_replication as replication;
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{Batches, encode, status};
use crate::{
    freshness::{PrimaryClock, lag_bytes},
    store::{Applied, Primary, PrimaryStatus, Replica, fold::Backlog},
};

/// Of the call's time, how much a primary that does not answer may take: the replica's half is worth an answer of its
/// own.
const PATIENCE_WITH_PRIMARY: std::time::Duration = std::time::Duration::from_secs(2);

/// How long sales that somebody has locked may hold up the rest of the answer.
const PATIENCE_WITH_ROLLUPS: std::time::Duration = std::time::Duration::from_millis(500);

/// Tells how replication is doing.
pub struct Replication {
    replica: Replica,
    primary: Option<Primary>,
    clock: PrimaryClock,
    batches: Batches,
    replica_name: String,
}

impl Replication {
    /// Asks `replica`, whose pool is better not the callers': how replication is doing must be told when they have all
    /// their connections too. And `primary`, where there is a credential for it. Staleness is measured by `clock`. Of
    /// batches, `batches` tell.
    pub const fn new(
        replica: Replica,
        primary: Option<Primary>,
        clock: PrimaryClock,
        batches: Batches,
        replica_name: String,
    ) -> Self {
        Self { replica, primary, clock, batches, replica_name }
    }

    async fn ask_primary(&self, deadline: Deadline) -> (PrimaryState, Option<PrimaryStatus>) {
        let Some(primary) = &self.primary else { return (PrimaryState::NotConfigured, None) };
        let patience = PATIENCE_WITH_PRIMARY.min(deadline.remaining() / 2);
        match primary.status(Deadline::after(patience)).await {
            Ok(status) => (PrimaryState::Reachable, Some(status)),
            Err(error) => {
                let error: &DatabaseError = &error;
                tracing::info!(error = error as &dyn std::error::Error, "the primary can't be asked for its status");
                (PrimaryState::Unreachable, None)
            }
        }
    }

    /// `None` while sales are locked, or too many to be counted in that time.
    async fn ask_for_rollups(&self, deadline: Deadline) -> Option<Backlog> {
        let patience = PATIENCE_WITH_ROLLUPS.min(deadline.remaining() / 2);
        let counted = self.replica.backlog(Deadline::after(patience)).await;
        counted
            .inspect_err(|error| {
                let error: &DatabaseError = error;
                tracing::info!(error = error as &dyn std::error::Error, "the backlog of the rollups can't be counted");
            })
            .ok()
    }
}

#[tonic::async_trait]
impl ReplicationService for Replication {
    async fn get_replication_status(
        &self,
        request: Request<GetReplicationStatusRequest>,
    ) -> Result<Response<GetReplicationStatusResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let (primary_state, primary) = self.ask_primary(deadline).await;
        let (applied, subscription) = self.replica.status(deadline).await.map_err(status::of)?;
        let rollups = self.ask_for_rollups(deadline).await;
        Ok(Response::new(GetReplicationStatusResponse {
            replica_name: self.replica_name.clone(),
            tables: tables(primary.as_ref(), subscription.as_ref()),
            lag: Some(lag(primary.as_ref(), applied, &self.clock)),
            publication: primary.as_ref().and_then(|primary| primary.publication.as_ref()).map(publication),
            replicas: primary.as_ref().map(replicas).unwrap_or_default(),
            slot: primary.and_then(|primary| primary.slot).map(slot),
            subscription: subscription.map(self::subscription),
            rollups: rollups.map(self::rollups),
            primary_state: primary_state.into(),
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

fn tables(primary: Option<&PrimaryStatus>, subscription: Option<&replication::Subscription>) -> Vec<ReplicatedTable> {
    let published = primary.and_then(|primary| primary.publication.as_ref()).into_iter().flat_map(|p| &p.tables);
    let mut states: BTreeMap<String, TableState> =
        published.map(|table| (format!("{}.{}", table.schema, table.name), TableState::Unspecified)).collect();
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

fn lag(primary: Option<&PrimaryStatus>, applied: Applied, clock: &PrimaryClock) -> ReplicationLag {
    let behind = primary.and_then(|primary| lag_bytes(primary.position, applied));
    ReplicationLag {
        bytes: behind.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        staleness: applied.staleness(clock.now()).map(encode::duration),
        primary_lsn: primary.map(|primary| primary.position.lsn.to_string()).unwrap_or_default(),
        replica_lsn: applied.position.map(|position| position.lsn.to_string()).unwrap_or_default(),
        tables_copying: i32::try_from(applied.tables_copying).unwrap_or(i32::MAX),
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
    }
}

/// Everyone who reads from the primary as a replica does, whoever answers.
fn replicas(primary: &PrimaryStatus) -> Vec<ReplicaOfPrimary> {
    let own = primary.slot.as_ref().map(|slot| &slot.name);
    let replica = |found: &replication::Slot| {
        let lag = found.confirmed_flush_lsn.map(|confirmed| primary.position.lsn.bytes_since(confirmed));
        ReplicaOfPrimary {
            lag_bytes: lag.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            answered: own == Some(&found.name),
            slot: Some(slot(found.clone())),
        }
    };
    primary.replicas.iter().map(replica).collect()
}

fn slot(slot: replication::Slot) -> ReplicationSlot {
    let text = |lsn: Option<replication::Lsn>| lsn.map(|lsn| lsn.to_string()).unwrap_or_default();
    ReplicationSlot {
        name: slot.name,
        active: slot.active,
        wal_status: slot.wal_status.unwrap_or_default(),
        restart_lsn: text(slot.restart_lsn),
        confirmed_flush_lsn: text(slot.confirmed_flush_lsn),
        retained_wal_bytes: slot.retained_wal_bytes,
        safe_wal_bytes: slot.safe_wal_bytes,
    }
}
