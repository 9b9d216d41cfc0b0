//! Pages of a listing: where one ends, the next begins, whatever arrives in between.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    fault::Fault,
    filter::TransactionFilter,
    limits::{MAX_PAGE_ITEMS, MAX_PAGE_TOKEN},
    range::Range,
    sale::Sale,
};

/// Of the hash of a question, and of a token's checksum.
const HASH: usize = 8;
/// Question, time, id.
const BODY: usize = HASH + 8 + 16;

/// Behind which sale a page begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cursor {
    /// The sale's time.
    pub transaction_time: DateTime<Utc>,
    /// Its id: sales of one moment are in the order of their ids.
    pub transaction_id: Uuid,
}

/// A page that is asked for.
#[derive(Clone, Debug)]
pub struct Page {
    /// Sales on it at most.
    pub size: i32,
    /// Behind which sale it begins; `None` for the first.
    pub after: Option<Cursor>,
}

/// A page that was found.
#[derive(Clone, Debug)]
pub struct SalesPage {
    /// Newest first.
    pub sales: Vec<Sale>,
    /// Whether there are more behind them.
    pub more: bool,
}

/// How many of these sales, given by the numbers of their items, make a page: at most `size`, with at most
/// [`MAX_PAGE_ITEMS`] items in all, but at least one, so that every page leads on.
pub fn sales_that_fit(size: i32, item_counts: impl Iterator<Item = i64>) -> usize {
    let size = usize::try_from(size).unwrap_or_default();
    let mut items = 0;
    let fits = |&(sales, count): &(usize, i64)| {
        items += count;
        sales == 0 || items <= MAX_PAGE_ITEMS
    };
    item_counts.take(size).enumerate().take_while(fits).count()
}

/// A cursor together with the question that it belongs to. Opaque to callers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageToken {
    question: [u8; HASH],
    cursor: Cursor,
}

impl PageToken {
    /// The token of the page behind `cursor`.
    pub fn new(cursor: Cursor, range: Option<Range>, filter: &TransactionFilter) -> Self {
        Self { question: question(range, filter), cursor }
    }

    /// The cursor, if the token belongs to this question.
    pub fn cursor(self, range: Option<Range>, filter: &TransactionFilter) -> Result<Cursor, Fault> {
        if self.question == question(range, filter) { Ok(self.cursor) } else { Err(Fault::OtherQuestion) }
    }
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(BODY + HASH);
        bytes.extend(self.question);
        bytes.extend(self.cursor.transaction_time.timestamp_micros().to_be_bytes());
        bytes.extend(self.cursor.transaction_id.as_bytes());
        bytes.extend(hash(Sha256::new().chain_update(&bytes)));
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for PageToken {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_PAGE_TOKEN {
            return Err(Fault::NotAPageToken);
        }
        parse(text).ok_or(Fault::NotAPageToken)
    }
}

fn parse(text: &str) -> Option<PageToken> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (body, sum) = bytes.split_last_chunk::<HASH>()?;
    if hash(Sha256::new().chain_update(body)) != *sum {
        return None;
    }
    let (question, body) = body.split_first_chunk::<HASH>()?;
    let (time, id) = body.split_first_chunk::<8>()?;
    let transaction_time = DateTime::from_timestamp_micros(i64::from_be_bytes(*time))?;
    let transaction_id = Uuid::from_slice(id).ok()?;
    Some(PageToken { question: *question, cursor: Cursor { transaction_time, transaction_id } })
}

fn question(range: Option<Range>, filter: &TransactionFilter) -> [u8; HASH] {
    // Lengths stand before lists, so that no two questions make the same bytes.
    let mut hasher = Sha256::new().chain_update([u8::from(range.is_some())]);
    for moment in range.iter().flat_map(|range| [range.start(), range.end()]) {
        hasher.update(moment.timestamp_micros().to_be_bytes());
    }
    for list in [&filter.store_ids, &filter.cashier_ids, &filter.customer_ids] {
        hasher.update(list.len().to_be_bytes());
        list.iter().for_each(|id| hasher.update(id.to_be_bytes()));
    }
    for method in &filter.payment_methods {
        hasher.update(method.len().to_be_bytes());
        hasher.update(method);
    }
    hash(hasher)
}

fn hash(hasher: Sha256) -> [u8; HASH] {
    let digest = hasher.finalize();
    std::array::from_fn(|index| digest[index])
}

#[cfg(test)]
mod tests {
    use super::{Cursor, DateTime, Fault, PageToken, Range, TransactionFilter, Uuid, sales_that_fit};

    fn cursor() -> Cursor {
        let transaction_time = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        Cursor { transaction_time, transaction_id: Uuid::now_v7() }
    }

    #[test]
    fn a_token_gives_its_cursor_back_to_the_same_question() {
        let filter = TransactionFilter { store_ids: vec![1, 2], ..TransactionFilter::default() };
        let cursor = cursor();
        let text = PageToken::new(cursor, None, &filter).to_string();
        assert_eq!(text.parse::<PageToken>().unwrap().cursor(None, &filter), Ok(cursor));
    }

    #[test]
    fn a_token_is_refused_by_any_other_question() {
        let filter = TransactionFilter { store_ids: vec![1, 2], ..TransactionFilter::default() };
        let token = PageToken::new(cursor(), None, &filter);
        let moved = TransactionFilter { cashier_ids: vec![1, 2], ..TransactionFilter::default() };
        let split = TransactionFilter { store_ids: vec![1], cashier_ids: vec![2], ..TransactionFilter::default() };
        let range = Range::new(DateTime::UNIX_EPOCH, cursor().transaction_time).ok();
        for (range, filter) in [(None, &moved), (None, &split), (None, &TransactionFilter::default()), (range, &filter)]
        {
            assert_eq!(token.cursor(range, filter), Err(Fault::OtherQuestion));
        }
    }

    #[test]
    fn a_page_ends_before_its_items_are_too_many_but_holds_a_sale() {
        let fit = |size, counts: &[i64]| sales_that_fit(size, counts.iter().copied());
        assert_eq!(fit(20, &[1, 2, 3]), 3);
        assert_eq!(fit(2, &[1, 2, 3]), 2);
        assert_eq!(fit(20, &[500; 20]), 5);
        assert_eq!(fit(20, &[500, 500, 500, 500, 499, 1, 1]), 6);
        assert_eq!(fit(20, &[2_501, 1]), 1);
        assert_eq!(fit(20, &[]), 0);
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let text = PageToken::new(cursor(), None, &TransactionFilter::default()).to_string();
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(changed.parse::<PageToken>(), Err(Fault::NotAPageToken), "{changed}");
        }
    }

    #[test]
    fn what_was_never_a_token_is_refused() {
        for text in ["x", "AAAA", &"A".repeat(10_000), "'; select 1; --"] {
            assert_eq!(text.parse::<PageToken>(), Err(Fault::NotAPageToken));
        }
    }
}
