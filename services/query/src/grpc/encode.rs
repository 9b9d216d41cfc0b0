//! Answers as the contract writes them.

use std::time::Duration;

use chrono::Utc;
use tandem_proto::{
    money::Currency,
    sales::{
        query::v1::{GetSummaryResponse, ReadState, RevenuePoint, TimeRange, TopProduct},
        v1::{SalesItem, SalesTransaction},
    },
    time::to_timestamp,
};
use tandem_replication::{Lsn, Position};
use tonic::{Response, metadata::MetadataValue};

use super::decode::Listing;
use crate::{
    domain::{Cursor, Item, PageToken, Point, Product, Range, Sale, Summary},
    store::Applied,
};

/// Response metadata with the consistency token, for client libraries that carry it unseen.
const CONSISTENCY_TOKEN: &str = "tandem-consistency-token";

/// How fresh an answer is. `before` was known before the answer's snapshot was taken: everything up to there is in it.
/// `received` was read after: nothing in it lies behind there, so that is what the token covers.
pub fn read_state(before: Applied, received: Option<Lsn>, replica_name: &str) -> ReadState {
    let token = before.position.map(|Position { identity, lsn }| {
        let lsn = received.map_or(lsn, |received| received.max(lsn));
        Position { identity, lsn }.token().to_string()
    });
    ReadState {
        consistency_token: token.unwrap_or_default(),
        staleness: before.staleness(Utc::now()).map(duration),
        replica_name: replica_name.to_owned(),
    }
}

/// A message with its token in the metadata too.
pub fn respond<T>(message: T, read_state: Option<ReadState>) -> Response<T> {
    let mut response = Response::new(message);
    let token = read_state.map(|state| state.consistency_token).filter(|token| !token.is_empty());
    if let Some(token) = token {
        let token = MetadataValue::try_from(token).expect("a token is URL-safe base64");
        response.metadata_mut().insert(CONSISTENCY_TOKEN, token);
    }
    response
}

/// The sales of a page, and the token of the next one: empty on the last page.
pub fn page(mut sales: Vec<Sale>, asked: &Listing) -> (Vec<Sale>, String) {
    let size = usize::try_from(asked.page.size).expect("a page size is not negative");
    if sales.len() <= size {
        return (sales, String::new());
    }
    sales.truncate(size);
    let last = sales
        .last()
        .map(|sale| Cursor { transaction_time: sale.transaction_time, transaction_id: sale.transaction_id });
    let token = last.map(|cursor| PageToken::new(cursor, asked.range, &asked.filter).to_string());
    (sales, token.unwrap_or_default())
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
        etag: format!("v{}", sale.version),
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

pub fn summary(
    figures: &Summary,
    asked: Range,
    currency: &Currency,
    read_state: Option<ReadState>,
) -> GetSummaryResponse {
    GetSummaryResponse {
        range: Some(range(asked)),
        revenue: Some(currency.money(figures.revenue)),
        transactions: figures.transactions,
        items_sold: figures.items_sold,
        average_transaction: Some(currency.money(figures.average_transaction())),
        total_discount: Some(currency.money(figures.total_discount)),
        read_state,
    }
}

pub fn point(point: &Point, currency: &Currency) -> RevenuePoint {
    RevenuePoint {
        start_time: Some(to_timestamp(point.start)),
        revenue: Some(currency.money(point.figures.revenue)),
        transactions: point.figures.transactions,
        items_sold: point.figures.items_sold,
        total_discount: Some(currency.money(point.figures.total_discount)),
    }
}

pub fn product(product: Product, currency: &Currency) -> TopProduct {
    TopProduct {
        product_code: product.product_code,
        product_name: product.product_name,
        category: product.category,
        quantity: product.quantity,
        revenue: Some(currency.money(product.revenue)),
        transactions: product.transactions,
    }
}

pub fn range(range: Range) -> TimeRange {
    TimeRange { start_time: Some(to_timestamp(range.start())), end_time: Some(to_timestamp(range.end())) }
}

pub fn duration(duration: Duration) -> prost_types::Duration {
    let nanos = i32::try_from(duration.subsec_nanos()).expect("less than a second of nanoseconds fits");
    prost_types::Duration { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos }
}
