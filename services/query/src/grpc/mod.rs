//! One RPC = decode, wait until fresh enough, ask, encode.

mod decode;
mod encode;
mod replication;
mod status;

use tandem_chassis::deadline::Deadline;
use tandem_proto::{
    money::Currency,
    sales::query::v1::{
        GetRevenueSeriesRequest, GetRevenueSeriesResponse, GetSummaryRequest, GetSummaryResponse,
        GetTransactionRequest, GetTransactionResponse, ListTopProductsRequest, ListTopProductsResponse,
        ListTransactionsRequest, ListTransactionsResponse, ReadState, sales_query_service_server::SalesQueryService,
    },
};
use tonic::{Request, Response, Status};

pub use self::replication::Replication;
use crate::{
    domain::Consistency,
    freshness::{Freshness, Observed},
    store::{Answered, Replica},
};

/// The read side of the contract.
pub struct SalesQueries {
    replica: Replica,
    freshness: Freshness,
    currency: Currency,
    replica_name: String,
}

impl SalesQueries {
    /// Answers out of `replica`, all money in `currency`, under the name `replica_name`.
    pub const fn new(replica: Replica, freshness: Freshness, currency: Currency, replica_name: String) -> Self {
        Self { replica, freshness, currency, replica_name }
    }

    async fn fresh(&self, consistency: Consistency, deadline: Deadline) -> Result<Observed, Status> {
        self.freshness.require(consistency, deadline).await.map_err(status::not_fresh)
    }

    fn read_state<T>(&self, before: Observed, answered: &Answered<T>) -> Option<ReadState> {
        Some(encode::read_state(before, answered.covered, &self.replica_name))
    }
}

#[tonic::async_trait]
impl SalesQueryService for SalesQueries {
    async fn get_transaction(
        &self,
        request: Request<GetTransactionRequest>,
    ) -> Result<Response<GetTransactionResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let asked = decode::get_transaction(request.into_inner()).map_err(|wrong| status::invalid(&wrong))?;
        let before = self.fresh(asked.consistency, deadline).await?;
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
        let asked = decode::list_transactions(request.into_inner()).map_err(|wrong| status::invalid(&wrong))?;
        let before = self.fresh(asked.consistency, deadline).await?;
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
        let asked = decode::get_summary(request.into_inner()).map_err(|wrong| status::invalid(&wrong))?;
        let before = self.fresh(asked.consistency, deadline).await?;
        let found = self.replica.summary(asked.range, asked.filter, deadline).await.map_err(status::of)?;
        let read_state = self.read_state(before, &found);
        let message = encode::summary(&found.answer, asked.range, &self.currency, read_state.clone());
        Ok(encode::respond(message, read_state))
    }

    async fn get_revenue_series(
        &self,
        request: Request<GetRevenueSeriesRequest>,
    ) -> Result<Response<GetRevenueSeriesResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let asked = decode::get_revenue_series(request.into_inner()).map_err(|wrong| status::invalid(&wrong))?;
        let before = self.fresh(asked.consistency, deadline).await?;
        let found = self.replica.daily(asked.range, asked.filter, deadline).await.map_err(status::of)?;
        let read_state = self.read_state(before, &found);
        let points = found.answer.iter().map(|point| encode::point(point, &self.currency)).collect();
        let range = Some(encode::range(asked.range));
        let message = GetRevenueSeriesResponse { range, points, read_state: read_state.clone() };
        Ok(encode::respond(message, read_state))
    }

    async fn list_top_products(
        &self,
        request: Request<ListTopProductsRequest>,
    ) -> Result<Response<ListTopProductsResponse>, Status> {
        let deadline = Deadline::of(request.extensions());
        let asked = decode::list_top_products(request.into_inner()).map_err(|wrong| status::invalid(&wrong))?;
        let before = self.fresh(asked.figures.consistency, deadline).await?;
        let (range, filter) = (asked.figures.range, asked.figures.filter);
        let found = self.replica.top_products(range, filter, asked.ranking, asked.limit, deadline);
        let found = found.await.map_err(status::of)?;
        let read_state = self.read_state(before, &found);
        let products = found.answer.into_iter().map(|product| encode::product(product, &self.currency)).collect();
        let range = Some(encode::range(range));
        let message = ListTopProductsResponse { range, products, read_state: read_state.clone() };
        Ok(encode::respond(message, read_state))
    }
}
