//! One function for each RPC: its request into a question.

use tandem_proto::sales::query::v1::{
    GetRevenueSeriesRequest, GetSummaryRequest, GetTransactionRequest, Granularity, ListTopProductsRequest,
    ListTransactionsRequest, ProductRanking,
};
use uuid::Uuid;

use super::reader::Reader;
use crate::domain::{
    Consistency, Fault, Page, PageToken, Range, Ranking, SalesFilter, TransactionFilter, Violation,
    limits::{DEFAULT_PAGE_SIZE, DEFAULT_PRODUCTS, MAX_PAGE_SIZE, MAX_PRODUCTS},
};

type Decoded<T> = Result<T, Vec<Violation>>;

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

/// Figures of a range.
pub struct Figures {
    pub range: Range,
    pub filter: SalesFilter,
    pub consistency: Consistency,
}

/// A ranking of products.
pub struct TopProducts {
    pub figures: Figures,
    pub ranking: Ranking,
    pub limit: i32,
}

pub fn get_transaction(message: GetTransactionRequest) -> Decoded<OneSale> {
    let mut reader = Reader::new();
    let transaction_id = reader.uuid("transaction_id", &message.transaction_id);
    let consistency = reader.consistency(message.consistency);
    let asked = transaction_id.zip(consistency);
    reader.finish(asked.map(|(transaction_id, consistency)| OneSale { transaction_id, consistency }))
}

pub fn list_transactions(message: ListTransactionsRequest) -> Decoded<Listing> {
    let mut reader = Reader::new();
    let size = reader.count("page_size", message.page_size, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE);
    let range = match message.range {
        Some(range) => reader.range(range).map(Some),
        None => Some(None),
    };
    let filter = reader.transaction_filter(message.filter);
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

pub fn get_summary(message: GetSummaryRequest) -> Decoded<Figures> {
    let mut reader = Reader::new();
    let range = reader.range_or_default(message.range);
    let filter = reader.sales_filter(message.filter);
    let consistency = reader.consistency(message.consistency);
    let asked = range.zip(filter).zip(consistency);
    reader.finish(asked.map(|((range, filter), consistency)| Figures { range, filter, consistency }))
}

pub fn get_revenue_series(message: GetRevenueSeriesRequest) -> Decoded<Figures> {
    let mut reader = Reader::new();
    let range = reader.range_or_default(message.range);
    let range = range.and_then(|range| reader.check("range", range.short_enough_for_days()));
    let granularity = match Granularity::try_from(message.granularity) {
        Ok(Granularity::Unspecified | Granularity::Day) => Ok(()),
        Err(_) => Err(Fault::UnknownValue { actual: message.granularity }),
    };
    let granularity = reader.check("granularity", granularity);
    let filter = reader.sales_filter(message.filter);
    let consistency = reader.consistency(message.consistency);
    let asked = granularity.and(range.zip(filter).zip(consistency));
    reader.finish(asked.map(|((range, filter), consistency)| Figures { range, filter, consistency }))
}

pub fn list_top_products(message: ListTopProductsRequest) -> Decoded<TopProducts> {
    let mut reader = Reader::new();
    let range = reader.range_or_default(message.range);
    let filter = reader.sales_filter(message.filter);
    let consistency = reader.consistency(message.consistency);
    let limit = reader.count("limit", message.limit, DEFAULT_PRODUCTS, MAX_PRODUCTS);
    let ranking = match ProductRanking::try_from(message.ranking) {
        Ok(ProductRanking::Unspecified | ProductRanking::Revenue) => Ok(Ranking::Revenue),
        Ok(ProductRanking::Quantity) => Ok(Ranking::Quantity),
        Err(_) => Err(Fault::UnknownValue { actual: message.ranking }),
    };
    let ranking = reader.check("ranking", ranking);
    let figures = range.zip(filter).zip(consistency);
    let asked = figures.zip(limit).zip(ranking);
    reader.finish(asked.map(|((((range, filter), consistency), limit), ranking)| TopProducts {
        figures: Figures { range, filter, consistency },
        ranking,
        limit,
    }))
}
