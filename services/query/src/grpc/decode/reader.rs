//! Reads fields one by one and keeps what is wrong with them.

use std::time::Duration;

use tandem_proto::sales::query::v1::{ReadConsistency, read_consistency::Requirement};
use tandem_replication::ConsistencyToken;
use uuid::Uuid;

use crate::domain::{Consistency, Fault, Violation};

/// The length of a UUID in its usual form, the only one that is taken.
const UUID_LENGTH: usize = 36;

/// A question, or all that is wrong with it.
pub type Decoded<T> = Result<T, Vec<Violation>>;

/// Collects violations while a request is read.
pub struct Reader {
    violations: Vec<Violation>,
}

impl Reader {
    pub const fn new() -> Self {
        Self { violations: Vec::new() }
    }

    /// What was read, unless anything was wrong.
    pub fn finish<T>(self, value: Option<T>) -> Decoded<T> {
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

    /// A number that names a value of an enumeration, which `meaning` gives.
    pub fn value<W: TryFrom<i32>, T>(
        &mut self,
        field: &str,
        number: i32,
        meaning: impl FnOnce(W) -> Result<T, Fault>,
    ) -> Option<T> {
        let value = W::try_from(number).map_err(|_| Fault::UnknownValue { actual: number });
        self.check(field, value.and_then(meaning))
    }

    /// 0 means `default`, more than `max` means `max` (AIP-158).
    pub fn count(&mut self, field: &str, count: i32, default: i32, max: i32) -> Option<i32> {
        match count {
            0 => Some(default),
            1.. => Some(count.min(max)),
            actual => self.check(field, Err(Fault::TooSmall { min: 0, actual })),
        }
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
