//! One RPC = decode, wait until fresh enough, ask, encode.

mod batch;
mod decode;
mod encode;
mod replication;
mod status;
mod watch;

use tandem_chassis::deadline::Deadline;
use tandem_proto::{
    money::Currency,
    sales::query::v1::{
        GetBreakdownRequest, GetBreakdownResponse, GetRevenueSeriesRequest, GetRevenueSeriesResponse,
        GetSummaryRequest, GetSummaryResponse, GetTransactionRequest, GetTransactionResponse, ListStoresRequest,
        ListStoresResponse, ListTopProductsRequest, ListTopProductsResponse, ListTransactionsRequest,
        ListTransactionsResponse, ReadState, WatchSummaryRequest, WatchSummaryResponse, WatchTransactionsRequest,
        WatchTransactionsResponse, sales_query_service_server::SalesQueryService,
    },
};
use tonic::{Request, Response, Status, codegen::BoxStream};

use self::decode::Carried;
pub use self::{batch::Batches, replication::Replication, watch::Watches};
use crate::{
    domain::{Consistency, Violation},
    freshness::{Freshness, Observed},
    store::{Answered, Replica},
};

/// The read side of the contract.
pub struct SalesQueries {
    replica: Replica,
    freshness: Freshness,
    watches: Watches,
    currency: Currency,
    replica_name: String,
}

impl SalesQueries {
    /// Answers out of `replica`, all money in `currency`, under the name `replica_name`.
    pub const fn new(
        replica: Replica,
        freshness: Freshness,
        watches: Watches,
        currency: Currency,
        replica_name: String,
    ) -> Self {
        Self { replica, freshness, watches, currency, replica_name }
    }

    /// Waits until the replica is as fresh as the message asks, and as the call's metadata does.
    async fn fresh(&self, asked: Consistency, carried: Carried, deadline: Deadline) -> Result<Observed, Status> {
        let required = self.freshness.require(asked, &carried, deadline).await;
        required.map_err(|error| status::not_fresh(error, &self.replica_name))
    }

    fn read_state<T>(&self, before: Observed, answered: &Answered<T>) -> Option<ReadState> {
        Some(encode::read_state(before, answered.covered, &self.replica_name))
    }
}

/// A call's question, and the tokens that it carries.
fn read<M, T>(
    request: Request<M>,
    decode: impl FnOnce(M) -> Result<T, Vec<Violation>>,
) -> Result<(T, Carried), Status> {
    decode::call(request, decode).map_err(|wrong| status::invalid(&wrong))
}

#[tonic::async_trait]
impl SalesQueryService for SalesQueries {
    async fn get_transaction(
        &self,
        request: Request<GetTransactionRequest>,
    ) -> Result<Response<GetTransactionResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let (asked, carried) = read(request, decode::get_transaction)?;
        let before = self.fresh(asked.consistency, carried, deadline).await?;
        let found = self.replica.sale(asked.transaction_id, deadline).await.map_err(status::of)?;
        let read_state = self.read_state(before, &found);
        let sale = found.answer.ok_or_else(|| status::no_sale(asked.transaction_id, read_state.as_ref()))?;
        let transaction = Some(encode::transaction(sale, &self.currency));
        Ok(encode::respond(GetTransactionResponse { transaction, read_state: read_state.clone() }, read_state))
    }

    async fn list_transactions(
        &self,
        request: Request<ListTransactionsRequest>,
    ) -> Result<Response<ListTransactionsResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let (asked, carried) = read(request, |message| decode::list_transactions(message, &self.currency))?;
        let before = self.fresh(asked.consistency, carried, deadline).await?;
        let (range, filter, page) = (asked.range, asked.filter.clone(), asked.page.clone());
        let found = self.replica.sales(range, filter, page, deadline).await.map_err(status::of)?;
        let read_state = self.read_state(before, &found);
        let next_page_token = encode::next_page_token(&found.answer, &asked);
        let transactions =
            found.answer.sales.into_iter().map(|sale| encode::transaction(sale, &self.currency)).collect();
        let message = ListTransactionsResponse { transactions, next_page_token, read_state: read_state.clone() };
        Ok(encode::respond(message, read_state))
    }

    async fn get_summary(&self, request: Request<GetSummaryRequest>) -> Result<Response<GetSummaryResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let (asked, carried) = read(request, decode::get_summary)?;
        let before = self.fresh(asked.consistency, carried, deadline).await?;
        let found = self.replica.figures(asked.question.clone(), deadline).await.map_err(status::of)?;
        let read_state = self.read_state(before, &found);
        let message = encode::summary(&found.answer, &asked, &self.currency, read_state.clone());
        Ok(encode::respond(message, read_state))
    }

    async fn get_revenue_series(
        &self,
        request: Request<GetRevenueSeriesRequest>,
    ) -> Result<Response<GetRevenueSeriesResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let (asked, carried) = read(request, decode::get_revenue_series)?;
        let before = self.fresh(asked.consistency, carried, deadline).await?;
        let found = self.replica.figures(asked.question.clone(), deadline).await.map_err(status::of)?;
        let read_state = self.read_state(before, &found);
        let message = encode::series(found.answer, &asked, &self.currency, read_state.clone());
        let message = message.map_err(status::too_many_series)?;
        Ok(encode::respond(message, read_state))
    }

    async fn list_top_products(
        &self,
        request: Request<ListTopProductsRequest>,
    ) -> Result<Response<ListTopProductsResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let (asked, carried) = read(request, decode::list_top_products)?;
        let before = self.fresh(asked.consistency, carried, deadline).await?;
        let found = self.replica.top_products(asked.question, asked.ranking, asked.limit, deadline);
        let found = found.await.map_err(status::of)?;
        let read_state = self.read_state(before, &found);
        let message = encode::top_products(found.answer, &asked.range, &self.currency, read_state.clone());
        Ok(encode::respond(message, read_state))
    }

    async fn get_breakdown(
        &self,
        request: Request<GetBreakdownRequest>,
    ) -> Result<Response<GetBreakdownResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let (asked, carried) = read(request, decode::get_breakdown)?;
        let before = self.fresh(asked.consistency, carried, deadline).await?;
        let found = self.replica.figures(asked.question.clone(), deadline).await.map_err(status::of)?;
        let read_state = self.read_state(before, &found);
        let message = encode::breakdown(found.answer, &asked, &self.currency, read_state.clone());
        Ok(encode::respond(message, read_state))
    }

    async fn list_stores(&self, request: Request<ListStoresRequest>) -> Result<Response<ListStoresResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let (asked, carried) = read(request, decode::list_stores)?;
        let before = self.fresh(asked.consistency, carried, deadline).await?;
        let found = self.replica.figures(asked.question.clone(), deadline).await.map_err(status::of)?;
        let read_state = self.read_state(before, &found);
        let message = encode::stores(found.answer, &asked, &self.currency, read_state.clone());
        Ok(encode::respond(message, read_state))
    }

    type WatchTransactionsStream = BoxStream<WatchTransactionsResponse>;

    async fn watch_transactions(
        &self,
        request: Request<WatchTransactionsRequest>,
    ) -> Result<Response<Self::WatchTransactionsStream>, Status> {
        self.watches.transactions(request).await
    }

    type WatchSummaryStream = BoxStream<WatchSummaryResponse>;

    async fn watch_summary(
        &self,
        request: Request<WatchSummaryRequest>,
    ) -> Result<Response<Self::WatchSummaryStream>, Status> {
        self.watches.summary(request).await
    }
}
