//! What watchers are told, and where in it they are.

use std::{cmp::Ordering, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use tandem_replication::SystemIdentity;
use uuid::Uuid;

use super::{fault::Fault, filter::TransactionFilter, limits::MAX_WATCH_TOKEN, sale::Sale};

/// What became of a sale between two horizons.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose.
    pub transaction_id: Uuid,
    /// What it was; `None` where it was not there.
    pub before: Option<Sale>,
    /// What it is; `None` where it is gone.
    pub after: Option<Sale>,
}

/// A change as one sees it who looks at sales that pass a filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It passed and still does.
    Updated,
    /// It is gone.
    Deleted,
    /// It was there, and passes only now.
    Entered,
    /// It is still there, and no longer passes.
    Left,
}

impl Change {
    /// What of it is seen through a filter: the sale as it is, or as it was where it is not to be seen any more.
    pub fn seen_through(&self, filter: &TransactionFilter) -> Option<(ChangeKind, &Sale)> {
        let passing = |sale: &Option<Sale>| sale.as_ref().is_some_and(|sale| filter.passes(sale));
        match (&self.before, &self.after) {
            (None, Some(after)) if filter.passes(after) => Some((ChangeKind::Created, after)),
            (Some(before), None) if filter.passes(before) => Some((ChangeKind::Deleted, before)),
            (Some(before), Some(after)) => match (passing(&self.before), passing(&self.after)) {
                (true, true) => Some((ChangeKind::Updated, after)),
                (true, false) => Some((ChangeKind::Left, before)),
                (false, true) => Some((ChangeKind::Entered, after)),
                (false, false) => None,
            },
            _ => None,
        }
    }
}

/// Where a watcher is: of what changed at `from_xid` or later and before `until_xid`, in the order of ids, it has been told
/// up to `after`; what changed before `from_xid` it has been told in full. Both are horizons: moments before which all
/// database transactions had ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WatchPosition {
    /// Where the step begins.
    pub from_xid: i64,
    /// Where the step ends; the same where none is under way.
    pub until_xid: i64,
    /// The last sale that was told of; nil where none was.
    pub after: Uuid,
}

impl WatchPosition {
    /// Between two steps.
    pub const fn at(xid: i64) -> Self {
        Self { from_xid: xid, until_xid: xid, after: Uuid::nil() }
    }

    /// Whether a step has been begun and not ended.
    pub const fn is_within_a_step(&self) -> bool {
        self.from_xid < self.until_xid
    }
}

/// The layout that this build writes.
const VERSION: u8 = 1;
/// Version, system identifier, timeline, two horizons, id.
const BODY: usize = 1 + 8 + 4 + 8 + 8 + 16;
/// Enough to tell a token from a typing error: it grants nothing.
const CHECKSUM: usize = 3;

/// A position on one replica. Opaque to callers: 64 characters of URL-safe base64.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WatchToken {
    /// Whose horizons these are.
    pub replica: SystemIdentity,
    /// Where.
    pub position: WatchPosition,
}

impl fmt::Display for WatchToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(BODY + CHECKSUM);
        bytes.push(VERSION);
        bytes.extend(self.replica.system_identifier.to_be_bytes());
        bytes.extend(self.replica.timeline.to_be_bytes());
        bytes.extend(self.position.from_xid.to_be_bytes());
        bytes.extend(self.position.until_xid.to_be_bytes());
        bytes.extend(self.position.after.as_bytes());
        bytes.extend(checksum(&bytes));
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for WatchToken {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_WATCH_TOKEN {
            return Err(Fault::NotAWatchToken);
        }
        parse(text).ok_or(Fault::NotAWatchToken)
    }
}

fn parse(text: &str) -> Option<WatchToken> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (body, sum) = bytes.split_last_chunk::<CHECKSUM>()?;
    let (&version, body) = body.split_first().filter(|_| checksum(body) == *sum)?;
    let (system_identifier, body) = body.split_first_chunk::<8>()?;
    let (timeline, body) = body.split_first_chunk::<4>()?;
    let (from_xid, body) = body.split_first_chunk::<8>()?;
    let (until_xid, after) = body.split_first_chunk::<8>()?;
    let replica = SystemIdentity {
        system_identifier: i64::from_be_bytes(*system_identifier),
        timeline: i32::from_be_bytes(*timeline),
    };
    let position = WatchPosition {
        from_xid: i64::from_be_bytes(*from_xid),
        until_xid: i64::from_be_bytes(*until_xid),
        after: Uuid::from_slice(after).ok()?,
    };
    let in_order = position.from_xid.cmp(&position.until_xid) != Ordering::Greater;
    (version == VERSION && in_order).then_some(WatchToken { replica, position })
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::digest(bytes);
    [digest[0], digest[1], digest[2]]
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use rust_decimal::Decimal;

    use super::{Change, ChangeKind, Fault, Sale, SystemIdentity, TransactionFilter, Uuid, WatchPosition, WatchToken};

    fn token() -> WatchToken {
        let position = WatchPosition { from_xid: 700, until_xid: 5_000_000_000, after: Uuid::now_v7() };
        WatchToken { replica: SystemIdentity { system_identifier: -7, timeline: 3 }, position }
    }

    #[test]
    fn a_token_goes_there_and_back() {
        let text = token().to_string();
        assert_eq!(text.len(), 64);
        let token = token();
        assert_eq!(token.to_string().parse(), Ok(token));
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let text = token().to_string();
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(changed.parse::<WatchToken>(), Err(Fault::NotAWatchToken), "{changed}");
        }
    }

    #[test]
    fn what_was_never_a_token_is_refused() {
        for text in ["x", "AAAA", &"A".repeat(64), &"A".repeat(10_000)] {
            assert_eq!(text.parse::<WatchToken>(), Err(Fault::NotAWatchToken));
        }
    }

    fn sale(store_id: i32) -> Option<Sale> {
        Some(Sale {
            transaction_id: Uuid::nil(),
            transaction_time: DateTime::UNIX_EPOCH,
            cashier_id: 1,
            store_id,
            payment_method: "cash".to_owned(),
            total_amount: Decimal::ONE,
            total_discount: Decimal::ZERO,
            customer_id: None,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            version: 1,
            items: Vec::new(),
        })
    }

    #[test]
    fn a_change_is_seen_as_it_passes_the_filter_before_and_after() {
        let filter = TransactionFilter { store_ids: vec![1], ..TransactionFilter::default() };
        let seen = |before, after| {
            let change = Change { transaction_id: Uuid::nil(), before, after };
            change.seen_through(&filter).map(|(kind, sale)| (kind, sale.store_id))
        };
        assert_eq!(seen(None, sale(1)), Some((ChangeKind::Created, 1)));
        assert_eq!(seen(None, sale(2)), None);
        assert_eq!(seen(sale(1), sale(1)), Some((ChangeKind::Updated, 1)));
        assert_eq!(seen(sale(1), sale(2)), Some((ChangeKind::Left, 1)));
        assert_eq!(seen(sale(2), sale(1)), Some((ChangeKind::Entered, 1)));
        assert_eq!(seen(sale(2), sale(3)), None);
        assert_eq!(seen(sale(1), None), Some((ChangeKind::Deleted, 1)));
        assert_eq!(seen(sale(2), None), None);
        assert_eq!(seen(None, None), None);
    }
}
