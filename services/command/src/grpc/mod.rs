//! One RPC = decode, submit, encode.

mod decode;
mod encode;
mod import;
mod status;

use tandem_chassis::deadline::Deadline;
use tandem_proto::money::Currency;
use tandem_proto::sales::command::v1::{
    AddItemRequest, AddItemResponse, CreateTransactionRequest, CreateTransactionResponse, DeleteItemRequest,
    DeleteItemResponse, DeleteTransactionRequest, DeleteTransactionResponse, ImportTransactionsRequest,
    ImportTransactionsResponse, UpdateItemRequest, UpdateItemResponse, UpdateTransactionRequest,
    UpdateTransactionResponse, sales_command_service_server::SalesCommandService,
};
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream};

use crate::{
    commit::Committer,
    domain::{Command, Violation},
    import::Importer,
    store::Receipt,
};

/// The write side of the contract.
pub struct SalesCommands {
    committer: Committer,
    importer: Importer,
    currency: Currency,
}

impl SalesCommands {
    /// Answers with what `committer` and `importer` do, all money in `currency`.
    pub const fn new(committer: Committer, importer: Importer, currency: Currency) -> Self {
        Self { committer, importer, currency }
    }

    async fn submit<M>(&self, request: Request<M>, decode: Decode<M>) -> Result<Receipt, Status> {
        let deadline = Deadline::of(request.extensions());
        let command = decode(request.into_inner(), &self.currency);
        let command = command.map_err(|violations| status::invalid(&violations))?;
        if let Some(request) = command.request {
            tracing::Span::current().record("command_id", tracing::field::display(request.request_id));
        }
        let can_retry = command.request.is_some();
        self.committer.submit(command, deadline).await.map_err(|error| status::of(error, can_retry))
    }
}

type Decode<M> = fn(M, &Currency) -> Result<Command, Vec<Violation>>;

#[tonic::async_trait]
impl SalesCommandService for SalesCommands {
    async fn create_transaction(
        &self,
        request: Request<CreateTransactionRequest>,
    ) -> Result<Response<CreateTransactionResponse>, Status> {
        encode::create_transaction(self.submit(request, decode::create_transaction).await?, &self.currency)
    }

    async fn update_transaction(
        &self,
        request: Request<UpdateTransactionRequest>,
    ) -> Result<Response<UpdateTransactionResponse>, Status> {
        encode::update_transaction(self.submit(request, decode::update_transaction).await?, &self.currency)
    }

    async fn delete_transaction(
        &self,
        request: Request<DeleteTransactionRequest>,
    ) -> Result<Response<DeleteTransactionResponse>, Status> {
        encode::delete_transaction(self.submit(request, decode::delete_transaction).await?, &self.currency)
    }

    async fn add_item(&self, request: Request<AddItemRequest>) -> Result<Response<AddItemResponse>, Status> {
        encode::add_item(self.submit(request, decode::add_item).await?, &self.currency)
    }

    async fn update_item(&self, request: Request<UpdateItemRequest>) -> Result<Response<UpdateItemResponse>, Status> {
        encode::update_item(self.submit(request, decode::update_item).await?, &self.currency)
    }

    async fn delete_item(&self, request: Request<DeleteItemRequest>) -> Result<Response<DeleteItemResponse>, Status> {
        encode::delete_item(self.submit(request, decode::delete_item).await?, &self.currency)
    }

    type ImportTransactionsStream = BoxStream<ImportTransactionsResponse>;

    async fn import_transactions(
        &self,
        request: Request<Streaming<ImportTransactionsRequest>>,
    ) -> Result<Response<Self::ImportTransactionsStream>, Status> {
        Ok(Response::new(import::import(self.importer.clone(), request.into_inner(), self.currency.clone())))
    }
}
