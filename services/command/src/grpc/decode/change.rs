//! One function for each RPC: its request into a command.

use prost::Message;
use sha2::{Digest as _, Sha256};
use tandem_proto::{
    money::Currency,
    sales::{
        command::v1::{
            AddItemRequest, BatchCreateTransactionsRequest, CreateTransactionRequest, DeleteItemRequest,
            DeleteTransactionRequest, UpdateItemRequest, UpdateTransactionRequest,
        },
        v1::SalesItem,
    },
};

use super::{
    mask::Mask,
    patch,
    reader::Reader,
    sale::{line, new_sale},
};
use crate::domain::{Action, Change, Command, Etag, Fault, Request, Violation, sale::sale_count};
use uuid::Uuid;

type Decoded = Result<Command, Vec<Violation>>;

/// Takes the request id out of a request and hashes what is left, which a retry has in common with the first try.
macro_rules! request {
    ($reader:expr, $method:literal, $message:expr) => {{
        let request_id = std::mem::take(&mut $message.request_id);
        request(&mut $reader, $method, &request_id, &$message)
    }};
}

fn request(reader: &mut Reader<'_>, method: &str, request_id: &str, content: &impl Message) -> Option<Option<Request>> {
    if request_id.is_empty() {
        return Some(None);
    }
    let request_id = reader.uuid("request_id", request_id)?;
    // The encoding is deterministic: the contract has no maps, and unknown fields were dropped.
    let content = Sha256::new().chain_update(method).chain_update([0]).chain_update(content.encode_to_vec());
    Some(Some(Request { request_id, payload_hash: content.finalize().into() }))
}

pub fn create_transaction(mut message: CreateTransactionRequest, currency: &Currency) -> Decoded {
    let mut reader = Reader::new(currency);
    let request = request!(reader, "CreateTransaction", message);
    let sale = required(&mut reader, "transaction", message.transaction);
    let change = sale.and_then(|sale| new_sale(&mut reader, sale)).map(Change::Create);
    command(reader, change, request, message.validate_only)
}

pub fn batch_create_transactions(mut message: BatchCreateTransactionsRequest, currency: &Currency) -> Decoded {
    let mut reader = Reader::new(currency);
    let request = request!(reader, "BatchCreateTransactions", message);
    // Too many sales are not looked at one by one: that would be work without a limit.
    let count = reader.check("transactions", sale_count(message.transactions.len()));
    let change = count.and_then(|()| {
        let sales = message.transactions.into_iter().enumerate();
        let new: Vec<_> = sales.map(|(index, sale)| reader.in_batch(index, |reader| new_sale(reader, sale))).collect();
        new.into_iter().collect::<Option<_>>().map(Change::CreateAll)
    });
    command(reader, change, request, message.validate_only)
}

pub fn update_transaction(mut message: UpdateTransactionRequest, currency: &Currency) -> Decoded {
    let mut reader = Reader::new(currency);
    let request = request!(reader, "UpdateTransaction", message);
    let mask = Mask::read(&mut reader, message.update_mask, &patch::SALE_FIELDS);
    let change = required(&mut reader, "transaction", message.transaction).and_then(|sale| {
        let transaction_id = reader.uuid("transaction.transaction_id", &sale.transaction_id);
        let etag = reader.etag("transaction.etag", &sale.etag);
        let patch = mask.and_then(|mask| patch::sale(&mut reader, &mask, sale));
        existing(transaction_id, etag, patch.map(Action::Update))
    });
    command(reader, change, request, message.validate_only)
}

pub fn delete_transaction(mut message: DeleteTransactionRequest, currency: &Currency) -> Decoded {
    let mut reader = Reader::new(currency);
    let request = request!(reader, "DeleteTransaction", message);
    let transaction_id = reader.uuid("transaction_id", &message.transaction_id);
    let etag = reader.etag("etag", &message.etag);
    let change = existing(transaction_id, etag, Some(Action::Delete));
    command(reader, change, request, message.validate_only)
}

pub fn add_item(mut message: AddItemRequest, currency: &Currency) -> Decoded {
    let mut reader = Reader::new(currency);
    let request = request!(reader, "AddItem", message);
    let transaction_id = reader.uuid("transaction_id", &message.transaction_id);
    let etag = reader.etag("etag", &message.etag);
    let line = required(&mut reader, "item", message.item).and_then(|item| line(&mut reader, "item", item));
    let change = existing(transaction_id, etag, line.map(Action::AddItem));
    command(reader, change, request, message.validate_only)
}

pub fn update_item(mut message: UpdateItemRequest, currency: &Currency) -> Decoded {
    let mut reader = Reader::new(currency);
    let request = request!(reader, "UpdateItem", message);
    let transaction_id = reader.uuid("transaction_id", &message.transaction_id);
    let etag = reader.etag("etag", &message.etag);
    let mask = Mask::read(&mut reader, message.update_mask, &patch::LINE_FIELDS);
    let change = required(&mut reader, "item", message.item).and_then(|item: SalesItem| {
        let item_id = reader.uuid("item.item_id", &item.item_id);
        let patch = mask.and_then(|mask| patch::line(&mut reader, &mask, item));
        let action = item_id.zip(patch).map(|(item_id, patch)| Action::UpdateItem { item_id, patch });
        existing(transaction_id, etag, action)
    });
    command(reader, change, request, message.validate_only)
}

pub fn delete_item(mut message: DeleteItemRequest, currency: &Currency) -> Decoded {
    let mut reader = Reader::new(currency);
    let request = request!(reader, "DeleteItem", message);
    let transaction_id = reader.uuid("transaction_id", &message.transaction_id);
    let item_id = reader.uuid("item_id", &message.item_id);
    let etag = reader.etag("etag", &message.etag);
    let change = existing(transaction_id, etag, item_id.map(|item_id| Action::DeleteItem { item_id }));
    command(reader, change, request, message.validate_only)
}

fn existing(transaction_id: Option<Uuid>, etag: Option<Option<Etag>>, action: Option<Action>) -> Option<Change> {
    Some(Change::Existing { transaction_id: transaction_id?, etag: etag?, action: action? })
}

fn command(
    reader: Reader<'_>,
    change: Option<Change>,
    request: Option<Option<Request>>,
    validate_only: bool,
) -> Decoded {
    reader.finish(change.zip(request).map(|(change, request)| Command { change, request, validate_only }))
}

fn required<T>(reader: &mut Reader<'_>, field: &str, message: Option<T>) -> Option<T> {
    reader.check(field, message.ok_or(Fault::Missing))
}
