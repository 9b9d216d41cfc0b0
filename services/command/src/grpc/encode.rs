//! Receipts into answers.

use tandem_proto::{
    agreed::{CONSISTENCY_TOKEN, REPLAYED},
    money::Currency,
    sales::{
        command::v1::{
            AddItemResponse, BatchCreateTransactionsResponse, CreateTransactionResponse, DeleteItemResponse,
            DeleteTransactionResponse, UpdateItemResponse, UpdateTransactionResponse,
        },
        v1::{SalesItem, SalesTransaction},
    },
    time::to_timestamp,
};
use tonic::{Response, Status, metadata::MetadataValue};

use super::status;
use crate::{
    domain::{Etag, Item, Sale, identity::CustomerId},
    store::{Outcome, Receipt},
};

/// An answer that holds the whole sale.
macro_rules! whole_sale {
    ($name:ident, $response:ident) => {
        pub fn $name(receipt: Receipt, currency: &Currency) -> Result<Response<$response>, Status> {
            let consistency_token = token(&receipt);
            let Outcome::Stored(sale) = &receipt.outcome else { return Err(status::wrong_outcome()) };
            let etag = sale.etag().to_string();
            let transaction = Some(transaction(sale, currency));
            Ok(respond($response { transaction, etag, consistency_token }, &receipt))
        }
    };
}

whole_sale!(create_transaction, CreateTransactionResponse);
whole_sale!(update_transaction, UpdateTransactionResponse);
whole_sale!(add_item, AddItemResponse);
whole_sale!(update_item, UpdateItemResponse);
whole_sale!(delete_item, DeleteItemResponse);

pub fn batch_create_transactions(
    receipt: Receipt,
    currency: &Currency,
) -> Result<Response<BatchCreateTransactionsResponse>, Status> {
    let Outcome::StoredAll(sales) = &receipt.outcome else { return Err(status::wrong_outcome()) };
    let transactions = sales.iter().map(|sale| transaction(sale, currency)).collect();
    let consistency_token = token(&receipt);
    Ok(respond(BatchCreateTransactionsResponse { transactions, consistency_token }, &receipt))
}

pub fn delete_transaction(
    receipt: Receipt,
    _currency: &Currency,
) -> Result<Response<DeleteTransactionResponse>, Status> {
    let consistency_token = token(&receipt);
    let Outcome::Deleted { transaction_id, version } = &receipt.outcome else { return Err(status::wrong_outcome()) };
    let etag = Etag::of_version(*version).to_string();
    let transaction_id = transaction_id.to_string();
    Ok(respond(DeleteTransactionResponse { transaction_id, etag, consistency_token }, &receipt))
}

fn token(receipt: &Receipt) -> String {
    receipt.token.map(|token| token.to_string()).unwrap_or_default()
}

fn respond<T>(message: T, receipt: &Receipt) -> Response<T> {
    let mut response = Response::new(message);
    let metadata = response.metadata_mut();
    if receipt.replayed {
        metadata.insert(REPLAYED, MetadataValue::from_static("true"));
    }
    if let Some(token) = receipt.token {
        let token = MetadataValue::try_from(token.to_string()).expect("a token is URL-safe base64");
        metadata.insert(CONSISTENCY_TOKEN, token);
    }
    response
}

fn transaction(sale: &Sale, currency: &Currency) -> SalesTransaction {
    SalesTransaction {
        transaction_id: sale.transaction_id.to_string(),
        transaction_time: Some(to_timestamp(sale.header.transaction_time)),
        cashier_id: sale.header.cashier_id.get(),
        store_id: sale.header.store_id.get(),
        payment_method: sale.header.payment_method.as_str().to_owned(),
        total_amount: Some(currency.money(sale.totals.amount.get())),
        total_discount: Some(currency.money(sale.totals.discount.get())),
        customer_id: sale.header.customer_id.map(CustomerId::get),
        created_at: Some(to_timestamp(sale.created_at)),
        updated_at: Some(to_timestamp(sale.updated_at)),
        etag: sale.etag().to_string(),
        items: sale.items.iter().map(|stored| item(stored, currency)).collect(),
    }
}

fn item(item: &Item, currency: &Currency) -> SalesItem {
    let parts = item.line.parts();
    SalesItem {
        item_id: item.item_id.to_string(),
        product_code: parts.product_code.as_str().to_owned(),
        product_name: parts.product_name.as_str().to_owned(),
        category: parts.category.as_ref().map(|category| category.as_str().to_owned()),
        quantity: parts.quantity.get(),
        unit_price: Some(currency.money(parts.unit_price.get())),
        discount: Some(currency.money(parts.discount.get())),
        total_price: Some(currency.money(item.line.total_price().get())),
    }
}
