//! Reads fields one by one and keeps what is wrong with them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use tandem_proto::{
    sales::query::v1::{self as wire, ReadConsistency, TimeRange, read_consistency::Requirement},
    time::from_timestamp,
};
use tandem_replication::ConsistencyToken;
use uuid::Uuid;

use crate::domain::{
    Consistency, Fault, Range, SalesFilter, TransactionFilter, Violation, last_thirty_days,
    limits::{MAX_FILTER_VALUES, MAX_PAYMENT_METHOD},
};

/// The length of a UUID in its usual form, the only one that is taken.
const UUID_LENGTH: usize = 36;

/// Collects violations while a request is read.
pub struct Reader {
    violations: Vec<Violation>,
}

impl Reader {
    pub const fn new() -> Self {
        Self { violations: Vec::new() }
    }

    /// What was read, unless anything was wrong.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Violation>> {
        match value {
            Some(value) if self.violations.is_empty() => Ok(value),
            _ => Err(self.violations),
        }
    }

    /// The value, or its fault kept and `None`.
    pub fn check<T>(&mut self, field: impl Into<String>, value: Result<T, Fault>) -> Option<T> {
        value.map_err(|fault| self.violations.push(Violation { field: field.into(), fault })).ok()
    }

    pub fn uuid(&mut self, field: &str, text: &str) -> Option<Uuid> {
        if text.is_empty() {
            return self.check(field, Err(Fault::Missing));
        }
        let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == UUID_LENGTH);
        self.check(field, uuid.ok_or(Fault::NotAUuid))
    }

    /// 0 means `default`, more than `max` means `max` (AIP-158).
    pub fn count(&mut self, field: &str, count: i32, default: i32, max: i32) -> Option<i32> {
        match count {
            0 => Some(default),
            1.. => Some(count.min(max)),
            actual => self.check(field, Err(Fault::TooSmall { min: 0, actual })),
        }
    }

    pub fn range(&mut self, range: TimeRange) -> Option<Range> {
        let start = self.moment("range.start_time", range.start_time);
        let end = self.moment("range.end_time", range.end_time);
        self.check("range.end_time", Range::new(start?, end?))
    }

    pub fn range_or_default(&mut self, range: Option<TimeRange>) -> Option<Range> {
        match range {
            Some(range) => self.range(range),
            None => Some(last_thirty_days(Utc::now())),
        }
    }

    fn moment(&mut self, field: &str, time: Option<Timestamp>) -> Option<DateTime<Utc>> {
        let time = time.ok_or(Fault::Missing);
        self.check(field, time.and_then(|time| moment(time).ok_or(Fault::MalformedTime)))
    }

    pub fn sales_filter(&mut self, filter: Option<wire::SalesFilter>) -> Option<SalesFilter> {
        let wire::SalesFilter { store_ids, payment_methods } = filter.unwrap_or_default();
        let store_ids = self.ids("filter.store_ids", store_ids);
        let payment_methods = self.codes("filter.payment_methods", payment_methods);
        Some(SalesFilter { store_ids: store_ids?, payment_methods: payment_methods? })
    }

    pub fn transaction_filter(&mut self, filter: Option<wire::TransactionFilter>) -> Option<TransactionFilter> {
        let filter = filter.unwrap_or_default();
        let store_ids = self.ids("filter.store_ids", filter.store_ids);
        let cashier_ids = self.ids("filter.cashier_ids", filter.cashier_ids);
        let customer_ids = self.ids("filter.customer_ids", filter.customer_ids);
        let payment_methods = self.codes("filter.payment_methods", filter.payment_methods);
        Some(TransactionFilter {
            store_ids: store_ids?,
            cashier_ids: cashier_ids?,
            customer_ids: customer_ids?,
            payment_methods: payment_methods?,
        })
    }

    fn codes(&mut self, field: &str, codes: Vec<String>) -> Option<Vec<String>> {
        let codes = self.few(field, codes)?;
        let well_formed = |(index, code): (usize, &String)| {
            let well_formed = if is_code(code) { Ok(()) } else { Err(Fault::NotACode) };
            self.check(format!("{field}[{index}]"), well_formed).is_some()
        };
        // Counted, so that the second wrong one is found too.
        let wrong = codes.iter().enumerate().map(well_formed).filter(|well_formed| !well_formed).count();
        (wrong == 0).then_some(codes)
    }

    fn ids(&mut self, field: &str, ids: Vec<i32>) -> Option<Vec<i32>> {
        let ids = self.few(field, ids)?;
        let positive = |(index, id): (usize, &i32)| {
            let positive = if *id >= 1 { Ok(()) } else { Err(Fault::TooSmall { min: 1, actual: *id }) };
            self.check(format!("{field}[{index}]"), positive).is_some()
        };
        let wrong = ids.iter().enumerate().map(positive).filter(|positive| !positive).count();
        (wrong == 0).then_some(ids)
    }

    fn few<T>(&mut self, field: &str, values: Vec<T>) -> Option<Vec<T>> {
        let actual = values.len();
        let few = if actual > MAX_FILTER_VALUES {
            Err(Fault::TooMany { max: MAX_FILTER_VALUES, actual })
        } else {
            Ok(values)
        };
        self.check(field, few)
    }

    pub fn consistency(&mut self, consistency: Option<ReadConsistency>) -> Option<Consistency> {
        match consistency.and_then(|consistency| consistency.requirement) {
            None => Some(Consistency::Any),
            Some(Requirement::AtLeastAsFreshAs(token)) => {
                let token = token.parse::<ConsistencyToken>().map_err(|_| Fault::NotAToken);
                let token = self.check("consistency.at_least_as_fresh_as", token)?;
                Some(Consistency::AtLeast(token.position()))
            }
            Some(Requirement::MaxStaleness(duration)) => {
                let staleness = Duration::try_from(duration).map_err(|_| Fault::MalformedDuration);
                let staleness =
                    staleness.and_then(|long| if long.is_zero() { Err(Fault::NoStaleness) } else { Ok(long) });
                self.check("consistency.max_staleness", staleness).map(Consistency::MaxStaleness)
            }
            Some(Requirement::Strong(true)) => Some(Consistency::Strong),
            Some(Requirement::Strong(false)) => self.check("consistency.strong", Err(Fault::NotTrue)),
        }
    }
}

/// The years that the wire's timestamps have, which PostgreSQL has too.
fn moment(time: Timestamp) -> Option<DateTime<Utc>> {
    const YEAR_1: i64 = -62_135_596_800;
    const YEAR_10000: i64 = 253_402_300_800;
    (YEAR_1..YEAR_10000).contains(&time.seconds).then(|| from_timestamp(time))?
}

fn is_code(text: &str) -> bool {
    let follows = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    text.len() <= MAX_PAYMENT_METHOD && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(follows)
}
