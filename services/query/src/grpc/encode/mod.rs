//! Answers as the contract writes them.

mod figures;

use std::time::Duration;

use tandem_proto::{
    agreed::{CONSISTENCY_TOKEN, etag},
    money::Currency,
    sales::{
        query::v1::ReadState,
        v1::{SalesItem, SalesTransaction},
    },
    time::to_timestamp,
};
use tandem_replication::Position;
use tonic::{
    Response,
    metadata::{MetadataMap, MetadataValue},
};

pub use figures::{breakdown, range, series, stores, summary, top_products};

use super::decode::Listing;
use crate::{
    domain::{Cursor, Item, PageToken, Sale, SalesPage},
    freshness::Observed,
};

/// How fresh an answer is. `before` was known before the answer's snapshot was taken: everything up to there is in it.
/// `covered` was asked in the answer's transaction: nothing in it lies behind there. What is unknown there, while tables
/// are copied, is not covered.
pub fn read_state(before: Observed, covered: Option<Position>, replica_name: &str) -> ReadState {
    let token = covered.map(|covered| {
        let known = before.applied.position.filter(|known| known.identity == covered.identity);
        let lsn = known.map_or(covered.lsn, |known| known.lsn.max(covered.lsn));
        Position { lsn, ..covered }.token().to_string()
    });
    ReadState {
        staleness: before.staleness.filter(|_| token.is_some()).map(duration),
        consistency_token: token.unwrap_or_default(),
        replica_name: replica_name.to_owned(),
    }
}

/// A message with its token in the metadata too.
pub fn respond<T>(message: T, read_state: Option<ReadState>) -> Response<T> {
    let mut response = Response::new(message);
    carry_token(response.metadata_mut(), read_state.as_ref());
    response
}

/// The token of an answer, for client libraries that carry it unseen.
pub fn carry_token(metadata: &mut MetadataMap, read_state: Option<&ReadState>) {
    if let Some(token) = read_state.map(|state| &state.consistency_token).filter(|token| !token.is_empty()) {
        let token = MetadataValue::try_from(token).expect("a token is URL-safe base64");
        metadata.insert(CONSISTENCY_TOKEN, token);
    }
}

/// The token of the page behind this one: empty on the last.
pub fn next_page_token(page: &SalesPage, asked: &Listing) -> String {
    let last = page.sales.last().filter(|_| page.more);
    let cursor = |sale: &Sale| Cursor { transaction_time: sale.transaction_time, transaction_id: sale.transaction_id };
    last.map(|sale| PageToken::new(cursor(sale), asked.range, &asked.filter).to_string()).unwrap_or_default()
}

pub fn transaction(sale: Sale, currency: &Currency) -> SalesTransaction {
    SalesTransaction {
        transaction_id: sale.transaction_id.to_string(),
        transaction_time: Some(to_timestamp(sale.transaction_time)),
        cashier_id: sale.cashier_id,
        store_id: sale.store_id,
        payment_method: sale.payment_method,
        total_amount: Some(currency.money(sale.total_amount)),
        total_discount: Some(currency.money(sale.total_discount)),
        customer_id: sale.customer_id,
        created_at: Some(to_timestamp(sale.created_at)),
        updated_at: Some(to_timestamp(sale.updated_at)),
        etag: etag(sale.version),
        items: sale.items.into_iter().map(|sold| item(sold, currency)).collect(),
    }
}

fn item(item: Item, currency: &Currency) -> SalesItem {
    SalesItem {
        item_id: item.item_id.to_string(),
        product_code: item.product_code,
        product_name: item.product_name,
        category: item.category,
        quantity: item.quantity,
        unit_price: Some(currency.money(item.unit_price)),
        discount: Some(currency.money(item.discount)),
        total_price: Some(currency.money(item.total_price)),
    }
}

pub fn duration(duration: Duration) -> prost_types::Duration {
    let nanos = i32::try_from(duration.subsec_nanos()).expect("less than a second of nanoseconds fits");
    prost_types::Duration { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos }
}
