//! Questions about sales: one function for each RPC.

use tandem_proto::{
    money::Currency,
    sales::query::v1::{GetTransactionRequest, ListTransactionsRequest},
};
use uuid::Uuid;

use super::reader::{Decoded, Reader};
use crate::domain::{
    Consistency, Page, PageToken, Range, TransactionFilter,
    limits::{DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE},
};

/// One sale.
pub struct OneSale {
    pub transaction_id: Uuid,
    pub consistency: Consistency,
}

/// A page of sales.
pub struct Listing {
    pub range: Option<Range>,
    pub filter: TransactionFilter,
    pub page: Page,
    pub consistency: Consistency,
}

pub fn get_transaction(message: GetTransactionRequest) -> Decoded<OneSale> {
    let mut reader = Reader::new();
    let transaction_id = reader.uuid("transaction_id", &message.transaction_id);
    let consistency = reader.consistency(message.consistency);
    let asked = transaction_id.zip(consistency);
    reader.finish(asked.map(|(transaction_id, consistency)| OneSale { transaction_id, consistency }))
}

pub fn list_transactions(message: ListTransactionsRequest, currency: &Currency) -> Decoded<Listing> {
    let mut reader = Reader::new();
    let size = reader.count("page_size", message.page_size, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE);
    let range = reader.range(message.range.unwrap_or_default()).map(|range| range.map(|local| local.range));
    let filter = reader.transaction_filter(message.filter, currency);
    let consistency = reader.consistency(message.consistency);
    let question = range.zip(filter);
    let after = match (message.page_token.as_str(), &question) {
        ("", _) => Some(None),
        // Which question the token must belong to is not known while range or filter are wrong.
        (token, None) => reader.check("page_token", token.parse::<PageToken>()).and(None),
        (token, Some((range, filter))) => {
            let cursor = token.parse::<PageToken>().and_then(|token| token.cursor(*range, filter));
            reader.check("page_token", cursor).map(Some)
        }
    };
    let asked = question.zip(size.zip(after)).zip(consistency);
    reader.finish(asked.map(|(((range, filter), (size, after)), consistency)| {
        let page = Page { size, after };
        Listing { range, filter, page, consistency }
    }))
}
