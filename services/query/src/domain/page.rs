//! Pages of a listing: where one ends, the next begins, whatever arrives in between.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{
    fault::Fault,
    filter::TransactionFilter,
    limits::MAX_PAGE_ITEMS,
    page_token::{QuestionHash, QuestionHasher, open, seal},
    range::Range,
    sale::Sale,
};

/// Time, id.
const BODY: usize = 8 + 16;

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
    question: QuestionHash,
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
        let mut body = Vec::with_capacity(BODY);
        body.extend(self.cursor.transaction_time.timestamp_micros().to_be_bytes());
        body.extend(self.cursor.transaction_id.as_bytes());
        f.write_str(&seal(self.question, &body))
    }
}

impl FromStr for PageToken {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (question, body) = open::<BODY>(text)?;
        let cursor = || {
            let (time, id) = body.split_first_chunk::<8>()?;
            let transaction_time = DateTime::from_timestamp_micros(i64::from_be_bytes(*time))?;
            Some(Cursor { transaction_time, transaction_id: Uuid::from_slice(id).ok()? })
        };
        Ok(Self { question, cursor: cursor().ok_or(Fault::NotAPageToken)? })
    }
}

fn question(range: Option<Range>, filter: &TransactionFilter) -> QuestionHash {
    let amount = |hasher: QuestionHasher, amount: Decimal| hasher.text(&amount.normalize().to_string());
    QuestionHasher::new("sales")
        .optional(range, QuestionHasher::range)
        .ids(&filter.store_ids)
        .ids(&filter.cashier_ids)
        .ids(&filter.customer_ids)
        .texts(&filter.payment_methods)
        .texts(&filter.categories)
        .texts(&filter.product_codes)
        .optional(filter.min_total_amount, amount)
        .optional(filter.max_total_amount, amount)
        .finish()
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
        let with = |change: &dyn Fn(&mut TransactionFilter)| {
            let mut changed = filter.clone();
            change(&mut changed);
            changed
        };
        let others = [
            moved,
            split,
            TransactionFilter::default(),
            with(&|filter| filter.payment_methods = vec!["cash".to_owned()]),
            with(&|filter| filter.categories = vec!["cash".to_owned()]),
            with(&|filter| filter.product_codes = vec!["cash".to_owned()]),
            with(&|filter| filter.min_total_amount = Some(1.into())),
            with(&|filter| filter.max_total_amount = Some(1.into())),
        ];
        assert_eq!(token.cursor(range, &filter), Err(Fault::OtherQuestion));
        for (number, other) in others.iter().enumerate() {
            assert_eq!(token.cursor(None, other), Err(Fault::OtherQuestion), "{other:?}");
            let token = PageToken::new(cursor(), None, other);
            for (another, question) in others.iter().enumerate() {
                assert_eq!(token.cursor(None, question).is_ok(), number == another, "{other:?} {question:?}");
            }
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
