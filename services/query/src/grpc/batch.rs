//! Batches of the contract: a page of them, one, and waiting for one.

use futures::{StreamExt as _, stream};
use tandem_chassis::deadline::Deadline;
use tandem_proto::{
    sales::query::v1::{
        self as wire, GetBatchRequest, GetBatchResponse, ListBatchesRequest, ListBatchesResponse, WaitForBatchRequest,
        WaitForBatchResponse,
    },
    time::to_timestamp,
};
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{decode, encode, status};
use crate::{
    domain::{Batch, BatchCursor, BatchHealth, BatchStatus, BatchTable},
    freshness::{Freshness, Observed},
    live::{BatchWait, BatchWaits, WaitEnd},
    store::Replica,
};

/// Tells of batches.
pub struct Batches {
    replica: Replica,
    freshness: Freshness,
    waits: BatchWaits,
    replica_name: String,
}

impl Batches {
    /// Answers out of `replica`, under the name `replica_name`.
    pub const fn new(replica: Replica, freshness: Freshness, waits: BatchWaits, replica_name: String) -> Self {
        Self { replica, freshness, waits, replica_name }
    }

    /// A page of batches.
    pub async fn list(&self, request: Request<ListBatchesRequest>) -> Result<Response<ListBatchesResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let asked = decode::call(request, decode::list_batches).map_err(|wrong| status::invalid(&wrong))?;
        let ((page, consistency), carried) = asked;
        let before = self.freshness.require(consistency, &carried, deadline).await;
        let before = before.map_err(|error| status::not_fresh(error, &self.replica_name))?;
        let size = usize::try_from(page.size).unwrap_or_default();
        let found = self.replica.batch_page(page, deadline).await.map_err(status::of)?;
        let read_state = Some(encode::read_state(before, found.covered, &self.replica_name));
        let mut batches = found.answer;
        let more = batches.len() > size;
        batches.truncate(size);
        let last = batches.last().filter(|_| more);
        let next_page_token = last.map(|last| BatchCursor::behind(last).to_string()).unwrap_or_default();
        let batches = batches.into_iter().map(batch).collect();
        let message = ListBatchesResponse { batches, next_page_token, read_state: read_state.clone() };
        Ok(encode::respond(message, read_state))
    }

    /// One batch.
    pub async fn get(&self, request: Request<GetBatchRequest>) -> Result<Response<GetBatchResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let asked = decode::call(request, decode::get_batch).map_err(|wrong| status::invalid(&wrong))?;
        let ((batch_id, consistency), carried) = asked;
        let before: Result<Observed, _> = self.freshness.require(consistency, &carried, deadline).await;
        let before = before.map_err(|error| status::not_fresh(error, &self.replica_name))?;
        let asked = vec![batch_id.as_str().to_owned()];
        let found = self.replica.batches(asked, deadline).await.map_err(status::of)?;
        let read_state = Some(encode::read_state(before, found.covered, &self.replica_name));
        let known = found.answer.into_iter().next();
        let known = known.ok_or_else(|| status::no_batch(batch_id.as_str(), read_state.as_ref()))?;
        let message = GetBatchResponse { batch: Some(batch(known)), read_state: read_state.clone() };
        Ok(encode::respond(message, read_state))
    }

    /// What becomes of a batch, until all of it can be read.
    pub fn wait(
        &self,
        request: Request<WaitForBatchRequest>,
    ) -> Result<Response<BoxStream<WaitForBatchResponse>>, Status> {
        let deadline = Deadline::of_caller(request.extensions());
        let batch_id = decode::wait_for_batch(request.into_inner()).map_err(|wrong| status::invalid(&wrong))?;
        let wait = self.waits.wait(&batch_id, deadline).map_err(status::wait_ended)?;
        let replica_name = self.replica_name.clone();
        let messages = stream::unfold(Next::Look(wait), Next::step).map(move |known| {
            let known = known.map_err(status::wait_ended)?;
            Ok(WaitForBatchResponse { batch: known.map(batch), replica_name: replica_name.clone() })
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

/// What a stream has still to say.
enum Next {
    /// What is new of the batch.
    Look(BatchWait),
    /// Why there is nothing more to wait for.
    Fail(WaitEnd),
    /// Nothing.
    End,
}

impl Next {
    async fn step(self) -> Option<(Result<Option<Batch>, WaitEnd>, Self)> {
        let mut wait = match self {
            Self::Look(wait) => wait,
            Self::Fail(end) => return Some((Err(end), Self::End)),
            Self::End => return None,
        };
        let known = wait.next().await;
        let next = match &known {
            Ok(Some(batch)) if batch.is_ready() => Self::End,
            Ok(Some(batch)) if batch.status() == BatchStatus::Failed => {
                Self::Fail(WaitEnd::Failed { error: batch.error().unwrap_or_default().to_owned() })
            }
            Ok(_) => Self::Look(wait),
            Err(_) => Self::End,
        };
        Some((known, next))
    }
}

fn batch(batch: Batch) -> wire::Batch {
    let position = batch.position();
    wire::Batch {
        status: status_of(batch.status()).into(),
        health: health(batch.health()).into(),
        started_at: Some(to_timestamp(batch.started_at)),
        ended_at: batch.ended_at().map(to_timestamp),
        lsn: position.map(|position| position.lsn.to_string()).unwrap_or_default(),
        consistency_token: position.map(|position| position.token().to_string()).unwrap_or_default(),
        error: batch.error().unwrap_or_default().to_owned(),
        batch_id: batch.batch_id,
        tables: batch.tables.into_iter().map(table).collect(),
    }
}

fn table(table: BatchTable) -> wire::BatchTable {
    wire::BatchTable {
        name: table.name,
        status: status_of(table.status).into(),
        health: health(table.health).into(),
        row_count: table.row_count,
    }
}

const fn status_of(status: BatchStatus) -> wire::BatchStatus {
    match status {
        BatchStatus::InProgress => wire::BatchStatus::InProgress,
        BatchStatus::Completed => wire::BatchStatus::Completed,
        BatchStatus::Failed => wire::BatchStatus::Failed,
    }
}

const fn health(health: BatchHealth) -> wire::BatchHealth {
    match health {
        BatchHealth::Ready => wire::BatchHealth::Ready,
        BatchHealth::Replicating => wire::BatchHealth::Replicating,
        BatchHealth::Slow => wire::BatchHealth::Slow,
        BatchHealth::Stuck => wire::BatchHealth::Stuck,
    }
}
