//! Pages of stores: by their ids, all of one listing over the same range.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};

use super::{
    dimension::Group,
    fault::Fault,
    figures::{Cell, Figures},
    filter::SalesFilter,
    page_token::{QuestionHash, QuestionHasher, open, seal},
    range::{LocalRange, Range},
};

/// Id, start, end.
const BODY: usize = 4 + 8 + 8;

/// A listing of stores, as it was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoresQuestion {
    /// The range.
    pub range: LocalRange,
    /// Whether the caller left the range out: it then ends when the first page was asked for.
    pub until_now: bool,
    /// Which sales.
    pub filter: SalesFilter,
}

/// Behind which store a page begins, and over which range its listing goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoreCursor {
    /// The last store of the page before.
    pub store_id: i32,
    /// The range of the first page.
    pub range: Range,
}

/// A page that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StorePage {
    /// By their ids.
    pub stores: Vec<(i32, Figures)>,
    /// Behind which store the next page begins; `None` on the last.
    pub next: Option<i32>,
}

/// The stores behind one, at most `size`. Groups that are no stores are left out.
pub fn page_of_stores(cells: Vec<Cell>, after: Option<i32>, size: usize) -> StorePage {
    let store = |cell: Cell| match cell.group {
        Group::Store(store_id) => Some((store_id, cell.figures)),
        _ => None,
    };
    let behind = |(store_id, _): &(i32, Figures)| after.is_none_or(|after| *store_id > after);
    let mut stores: Vec<_> = cells.into_iter().filter_map(store).filter(behind).collect();
    stores.sort_by_key(|(store_id, _)| *store_id);
    let more = stores.len() > size;
    stores.truncate(size);
    let next = stores.last().filter(|_| more).map(|(store_id, _)| *store_id);
    StorePage { stores, next }
}

/// A cursor together with the question that it belongs to. Opaque to callers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StorePageToken {
    question: QuestionHash,
    cursor: StoreCursor,
}

impl StorePageToken {
    /// The token of the page behind a store.
    pub fn new(store_id: i32, asked: &StoresQuestion) -> Self {
        Self { question: question(asked), cursor: StoreCursor { store_id, range: asked.range.range } }
    }

    /// The cursor, if the token belongs to this question.
    pub fn cursor(self, asked: &StoresQuestion) -> Result<StoreCursor, Fault> {
        if self.question == question(asked) { Ok(self.cursor) } else { Err(Fault::OtherQuestion) }
    }
}

impl fmt::Display for StorePageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoreCursor { store_id, range } = self.cursor;
        let mut body = Vec::with_capacity(BODY);
        body.extend(store_id.to_be_bytes());
        body.extend(range.start().timestamp_micros().to_be_bytes());
        body.extend(range.end().timestamp_micros().to_be_bytes());
        f.write_str(&seal(self.question, &body))
    }
}

impl FromStr for StorePageToken {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (question, body) = open::<BODY>(text)?;
        let cursor = || {
            let (store_id, times) = body.split_first_chunk::<4>()?;
            let (start, end) = times.split_first_chunk::<8>()?;
            let range =
                Range::new(moment(*start)?, moment(end.try_into().ok()?)?).and_then(Range::short_enough).ok()?;
            Some(StoreCursor { store_id: i32::from_be_bytes(*store_id), range })
        };
        Ok(Self { question, cursor: cursor().ok_or(Fault::NotAPageToken)? })
    }
}

fn moment(bytes: [u8; 8]) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(i64::from_be_bytes(bytes))
}

fn question(StoresQuestion { range, until_now, filter }: &StoresQuestion) -> QuestionHash {
    let asked = (!until_now).then_some(range.range);
    QuestionHasher::new("stores")
        .text(range.zone.name())
        .optional(asked, QuestionHasher::range)
        .ids(&filter.store_ids)
        .texts(&filter.payment_methods)
        .texts(&filter.categories)
        .finish()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::{
        Cell, DateTime, Fault, Figures, Group, LocalRange, SalesFilter, StorePage, StorePageToken, StoresQuestion,
        page_of_stores,
    };
    use crate::domain::Zone;

    fn asked(day: i64, until_now: bool, zone: &str) -> StoresQuestion {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000 + day);
        let range = LocalRange::last_thirty_days(now, Zone::find(zone).unwrap());
        StoresQuestion { range, until_now, filter: SalesFilter::default() }
    }

    #[test]
    fn a_token_belongs_to_its_question_and_keeps_the_range_of_the_first_page() {
        let first = asked(0, true, "UTC");
        let token: StorePageToken = StorePageToken::new(7, &first).to_string().parse().unwrap();
        let cursor = token.cursor(&asked(1, true, "UTC")).unwrap();
        assert_eq!((cursor.store_id, cursor.range), (7, first.range.range));
        let of_store = SalesFilter { store_ids: vec![1], ..SalesFilter::default() };
        let others = [
            asked(0, false, "UTC"),
            asked(0, true, "Asia/Kolkata"),
            StoresQuestion { filter: of_store, ..asked(0, true, "UTC") },
            StoresQuestion {
                filter: SalesFilter { categories: vec!["a".to_owned()], ..SalesFilter::default() },
                ..asked(0, true, "UTC")
            },
        ];
        for other in others {
            assert_eq!(token.cursor(&other), Err(Fault::OtherQuestion), "{other:?}");
        }
        let explicit: StorePageToken = StorePageToken::new(7, &asked(0, false, "UTC")).to_string().parse().unwrap();
        assert_eq!(explicit.cursor(&asked(1, false, "UTC")), Err(Fault::OtherQuestion));
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let text = StorePageToken::new(7, &asked(0, true, "UTC")).to_string();
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(changed.parse::<StorePageToken>(), Err(Fault::NotAPageToken), "{changed}");
        }
    }

    #[test]
    fn pages_are_in_the_order_of_ids_and_lead_on_until_the_last() {
        let cell = |id| Cell { step: 0, group: Group::Store(id), figures: Figures::default() };
        let page = |after, size| {
            let StorePage { stores, next } = page_of_stores([10, 9, 100].map(cell).to_vec(), after, size);
            (stores.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), next)
        };
        assert_eq!(page(None, 2), (vec![9, 10], Some(10)));
        assert_eq!(page(Some(10), 2), (vec![100], None));
        assert_eq!(page(None, 3), (vec![9, 10, 100], None));
        assert_eq!(page(Some(100), 2), (vec![], None));
    }
}
