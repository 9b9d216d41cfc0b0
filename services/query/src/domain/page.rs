//! Pages of a listing: where one ends, the next begins, whatever arrives in between.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{fault::Fault, filter::Filter, limits::MAX_PAGE_TOKEN, range::Range};

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

/// A cursor together with the question that it belongs to. Opaque to callers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageToken {
    question: [u8; HASH],
    cursor: Cursor,
}

impl PageToken {
    /// The token of the page behind `cursor`.
    pub fn new(cursor: Cursor, range: Option<Range>, filter: &Filter) -> Self {
        Self { question: question(range, filter), cursor }
    }

    /// The cursor, if the token belongs to this question.
    pub fn cursor(self, range: Option<Range>, filter: &Filter) -> Result<Cursor, Fault> {
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

fn question(range: Option<Range>, filter: &Filter) -> [u8; HASH] {
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
    use super::{Cursor, DateTime, Fault, Filter, PageToken, Range, Uuid};

    fn cursor() -> Cursor {
        let transaction_time = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        Cursor { transaction_time, transaction_id: Uuid::now_v7() }
    }

    #[test]
    fn a_token_gives_its_cursor_back_to_the_same_question() {
        let filter = Filter { store_ids: vec![1, 2], ..Filter::default() };
        let cursor = cursor();
        let text = PageToken::new(cursor, None, &filter).to_string();
        assert_eq!(text.parse::<PageToken>().unwrap().cursor(None, &filter), Ok(cursor));
    }

    #[test]
    fn a_token_is_refused_by_any_other_question() {
        let filter = Filter { store_ids: vec![1, 2], ..Filter::default() };
        let token = PageToken::new(cursor(), None, &filter);
        let moved = Filter { cashier_ids: vec![1, 2], ..Filter::default() };
        let split = Filter { store_ids: vec![1], cashier_ids: vec![2], ..Filter::default() };
        let range = Range::new(DateTime::UNIX_EPOCH, cursor().transaction_time).ok();
        for (range, filter) in [(None, &moved), (None, &split), (None, &Filter::default()), (range, &filter)] {
            assert_eq!(token.cursor(range, filter), Err(Fault::OtherQuestion));
        }
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let text = PageToken::new(cursor(), None, &Filter::default()).to_string();
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
