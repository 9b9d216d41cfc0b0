//! Requests as a caller would write them.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use tandem_proto::{
    google::r#type::Money,
    sales::{
        command::v1::CreateTransactionRequest,
        query::v1::{ReadConsistency, SalesFilter, TimeRange, TransactionFilter, read_consistency::Requirement},
        v1::{SalesItem, SalesTransaction},
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Dollars as text: `"7.25"`.
pub fn usd(text: &str) -> Money {
    "USD".parse::<tandem_proto::money::Currency>().expect("a currency").money(text.parse().expect("a decimal"))
}

/// A line without a discount.
pub fn item(product_code: &str, quantity: i32, unit_price: &str) -> SalesItem {
    SalesItem {
        product_code: product_code.to_owned(),
        product_name: format!("Product {product_code}"),
        category: Some("Food".to_owned()),
        quantity,
        unit_price: Some(usd(unit_price)),
        ..SalesItem::default()
    }
}

/// A line with a discount.
pub fn discounted(product_code: &str, quantity: i32, unit_price: &str, discount: &str) -> SalesItem {
    SalesItem { discount: Some(usd(discount)), ..item(product_code, quantity, unit_price) }
}

/// A sale of now, in a store.
pub fn sale(store_id: i32, items: Vec<SalesItem>) -> SalesTransaction {
    SalesTransaction {
        transaction_time: Some(SystemTime::now().into()),
        cashier_id: 1,
        store_id,
        payment_method: "cash".to_owned(),
        items,
        ..SalesTransaction::default()
    }
}

/// A sale of a moment, in a store.
pub fn sale_at(time: Timestamp, store_id: i32, items: Vec<SalesItem>) -> SalesTransaction {
    SalesTransaction { transaction_time: Some(time), ..sale(store_id, items) }
}

/// A create without a request id.
pub fn create(sale: SalesTransaction) -> CreateTransactionRequest {
    CreateTransactionRequest { transaction: Some(sale), ..CreateTransactionRequest::default() }
}

/// At least as fresh as a token.
pub fn after(token: &str) -> Option<ReadConsistency> {
    Some(ReadConsistency { requirement: Some(Requirement::AtLeastAsFreshAs(token.to_owned())) })
}

/// Everything that was committed before the question.
pub fn strong() -> Option<ReadConsistency> {
    Some(ReadConsistency { requirement: Some(Requirement::Strong(true)) })
}

/// At most so stale.
pub fn at_most(staleness: Duration) -> Option<ReadConsistency> {
    let staleness = staleness.try_into().expect("a duration that the wire has");
    Some(ReadConsistency { requirement: Some(Requirement::MaxStaleness(staleness)) })
}

/// A listing of one store's sales.
pub fn listed_in_store(store_id: i32) -> Option<TransactionFilter> {
    Some(TransactionFilter { store_ids: vec![store_id], ..TransactionFilter::default() })
}

/// Figures of one store's sales.
pub fn in_store(store_id: i32) -> Option<SalesFilter> {
    Some(SalesFilter { store_ids: vec![store_id], ..SalesFilter::default() })
}

/// From one second of Unix time to another.
pub fn range(start: i64, end: i64) -> Option<TimeRange> {
    let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
    Some(TimeRange { start_time: time(start), end_time: time(end), ..TimeRange::default() })
}

/// A request with a deadline.
pub fn within<M>(message: M, deadline: Duration) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(deadline);
    request
}

/// The stable reason of an error; an error without ErrorInfo fails the test.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "tandem.sales");
    info.reason
}

/// The wrong fields of an INVALID_ARGUMENT with their stable reasons, in the order of their names.
pub fn wrong_fields(status: &Status) -> Vec<(String, String)> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(reason(status), "INVALID_FIELDS");
    let reasons = status.get_details_error_info().expect("it has just been read").metadata;
    let violations = status.get_details_bad_request().expect("INVALID_ARGUMENT carries BadRequest").field_violations;
    let mut fields: Vec<_> = violations
        .into_iter()
        .map(|violation| {
            assert!(!violation.description.is_empty(), "{violation:?}");
            let reason = reasons.get(&violation.field).unwrap_or_else(|| panic!("no reason for {violation:?}"));
            (violation.field, reason.clone())
        })
        .collect();
    fields.sort();
    fields
}
