//! Requests of all commands, alike.

use tandem_proto::sales::{
    command::v1::{
        AddItemRequest, CreateTransactionRequest, DeleteItemRequest, DeleteTransactionRequest, UpdateItemRequest,
        UpdateTransactionRequest, sales_command_service_client::SalesCommandServiceClient,
    },
    v1::SalesTransaction,
};
use tonic::{Status, transport::Channel};

/// An etag that no sale ever has.
const NO_ETAG: &str = "v999999999";

/// A request.
#[derive(Clone, Debug)]
pub enum Asked {
    Create(CreateTransactionRequest),
    Update(UpdateTransactionRequest),
    AddItem(AddItemRequest),
    UpdateItem(UpdateItemRequest),
    DeleteItem(DeleteItemRequest),
    Delete(DeleteTransactionRequest),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The sale afterwards; none when it is deleted.
    pub sale: Option<SalesTransaction>,
    pub token: String,
    /// Whether the service says that it is the first try's answer.
    pub replayed: bool,
}

/// Sends a request, and takes what all answers have. The last argument is what an answer says of the sale.
macro_rules! answer {
    ($commands:ident . $call:ident ( $request:expr ), $said:ident => $sale:expr) => {{
        let answer = $commands.$call($request).await?;
        let replayed = answer.metadata().get("tandem-replayed").is_some_and(|said| said == "true");
        let $said = answer.into_inner();
        let token = $said.consistency_token.clone();
        Ok(Answer { sale: $sale, token, replayed })
    }};
}

impl Asked {
    /// The same with a request id.
    pub fn named(mut self, request_id: String) -> Self {
        *match &mut self {
            Self::Create(request) => &mut request.request_id,
            Self::Update(request) => &mut request.request_id,
            Self::AddItem(request) => &mut request.request_id,
            Self::UpdateItem(request) => &mut request.request_id,
            Self::DeleteItem(request) => &mut request.request_id,
            Self::Delete(request) => &mut request.request_id,
        } = request_id;
        self
    }

    /// Something else with the same request id.
    pub fn altered(mut self) -> Self {
        match &mut self {
            Self::Create(request) => request.transaction.as_mut().expect("a create has a sale").cashier_id += 1,
            Self::Update(request) => request.transaction.as_mut().expect("an update has a sale").cashier_id += 1,
            Self::AddItem(request) => request.item.as_mut().expect("an item is added").quantity += 1,
            Self::UpdateItem(request) => request.item.as_mut().expect("an item is changed").quantity += 1,
            Self::DeleteItem(request) => NO_ETAG.clone_into(&mut request.etag),
            Self::Delete(request) => NO_ETAG.clone_into(&mut request.etag),
        }
        self
    }

    pub async fn send(self, mut commands: SalesCommandServiceClient<Channel>) -> Result<Answer, Status> {
        match self {
            Self::Create(request) => answer!(commands.create_transaction(request), answer => answer.transaction),
            Self::Update(request) => answer!(commands.update_transaction(request), answer => answer.transaction),
            Self::AddItem(request) => answer!(commands.add_item(request), answer => answer.transaction),
            Self::UpdateItem(request) => answer!(commands.update_item(request), answer => answer.transaction),
            Self::DeleteItem(request) => answer!(commands.delete_item(request), answer => answer.transaction),
            Self::Delete(request) => answer!(commands.delete_transaction(request), answer => None),
        }
    }
}
