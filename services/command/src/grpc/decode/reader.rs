//! Reads fields one by one and keeps what is wrong with them. The path of a field becomes text only where it is wrong.

use std::fmt::Display;

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use rust_decimal::Decimal;
use tandem_proto::{google::r#type::Money, money::Currency, time::from_timestamp};
use uuid::Uuid;

use crate::domain::{
    Etag, Fault, Violation,
    money::{Amount, Price, from_units_and_nanos},
};

/// The length of a UUID in its usual form, the only one that is taken.
const UUID_LENGTH: usize = 36;

/// Collects violations while a request is read.
pub struct Reader<'a> {
    currency: &'a Currency,
    pub(super) now: DateTime<Utc>,
    violations: Vec<Violation>,
}

impl<'a> Reader<'a> {
    pub fn new(currency: &'a Currency) -> Self {
        Self { currency, now: Utc::now(), violations: Vec::new() }
    }

    /// What was read, unless anything was wrong.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Violation>> {
        match value {
            Some(value) if self.violations.is_empty() => Ok(value),
            _ => Err(self.violations),
        }
    }

    /// Keeps what is wrong with a field, whose name is written out only then.
    pub fn wrong(&mut self, field: impl Display, fault: Fault) {
        self.violations.push(Violation::new(field.to_string(), fault));
    }

    /// The value, or its fault kept and `None`.
    pub fn check<T>(&mut self, field: impl Display, value: Result<T, Fault>) -> Option<T> {
        value.map_err(|fault| self.wrong(field, fault)).ok()
    }

    /// The value, or its violations kept and `None`.
    pub fn keep<T>(&mut self, value: Result<T, Vec<Violation>>) -> Option<T> {
        value.map_err(|violations| self.violations.extend(violations)).ok()
    }

    /// Reads one sale of a batch.
    pub fn in_batch<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        let outside = std::mem::take(&mut self.violations);
        let value = read(self);
        let inside = std::mem::replace(&mut self.violations, outside);
        self.violations.extend(inside.into_iter().map(|violation| violation.in_batch(index)));
        value
    }

    pub fn uuid(&mut self, field: impl Display, text: &str) -> Option<Uuid> {
        if text.is_empty() {
            self.wrong(field, Fault::Missing);
            return None;
        }
        let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == UUID_LENGTH);
        self.check(field, uuid.ok_or(Fault::NotAUuid))
    }

    /// `Some(None)` for the empty text, which makes a command unconditional.
    pub fn etag(&mut self, field: impl Display, text: &str) -> Option<Option<Etag>> {
        self.check(field, Etag::parse(text))
    }

    pub fn time(&mut self, field: impl Display, time: Timestamp) -> Option<DateTime<Utc>> {
        let time = self.check(&field, from_timestamp(time).ok_or(Fault::MalformedTime))?;
        self.check(field, crate::domain::sale::transaction_time(time, self.now))
    }

    pub fn amount(&mut self, field: impl Display, money: &Money) -> Option<Amount> {
        let value = self.money(money).and_then(Amount::parse);
        self.check(field, value)
    }

    pub fn price(&mut self, field: impl Display, money: &Money) -> Option<Price> {
        let value = self.money(money).and_then(Price::parse);
        self.check(field, value)
    }

    fn money(&self, money: &Money) -> Result<Decimal, Fault> {
        if money.currency_code != self.currency.code() {
            return Err(Fault::WrongCurrency { expected: self.currency.code().to_owned() });
        }
        from_units_and_nanos(money.units, money.nanos)
    }
}
