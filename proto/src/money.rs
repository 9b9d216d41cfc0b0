//! Money on the wire and as an exact decimal.

use std::str::FromStr;

use rust_decimal::{Decimal, prelude::ToPrimitive as _};

use crate::google::r#type::Money;

/// Billionths in a unit.
const NANOS: i64 = 1_000_000_000;
/// Decimals of a billionth.
const NANOS_SCALE: u32 = 9;

/// The one currency of a deployment: three capital letters, ISO 4217.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Currency(String);

/// The text is no currency.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a currency of three capital letters such as USD: {0:?}")]
pub struct ParseCurrencyError(String);

/// Why a message names no amount of a currency.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MoneyError {
    /// Of another currency.
    #[error("not in {expected}")]
    WrongCurrency {
        /// The three letters.
        expected: String,
    },
    /// Units and nanos of different signs, or nanos that make a unit.
    #[error("units and nanos have different signs, or nanos make a unit")]
    Malformed,
}

impl FromStr for Currency {
    type Err = ParseCurrencyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseCurrencyError(text.to_owned()))
        }
    }
}

impl Currency {
    /// The three letters.
    pub fn code(&self) -> &str {
        &self.0
    }

    /// The exact amount that a message names, of any sign and with up to nine decimals.
    pub fn amount(&self, money: &Money) -> Result<Decimal, MoneyError> {
        if money.currency_code != self.0 {
            return Err(MoneyError::WrongCurrency { expected: self.0.clone() });
        }
        let (units, nanos) = (money.units, i64::from(money.nanos));
        let disagree = (units > 0 && nanos < 0) || (units < 0 && nanos > 0);
        if disagree || nanos.abs() >= NANOS {
            return Err(MoneyError::Malformed);
        }
        Ok(Decimal::from(units) + Decimal::new(nanos, NANOS_SCALE))
    }

    /// An amount of this currency.
    ///
    /// # Panics
    /// When the amount has more than eighteen digits before the point; digits beyond the ninth after it are cut off.
    pub fn money(&self, amount: Decimal) -> Money {
        let (units, nanos) = split(amount);
        Money {
            currency_code: self.0.clone(),
            units: units.expect("sums of NUMERIC(12,2) have fewer than eighteen digits"),
            nanos: nanos.expect("a fraction of one has at most nine digits of nanos"),
        }
    }
}

/// Units and nanos; none where a number does not fit.
fn split(amount: Decimal) -> (Option<i64>, Option<i32>) {
    // Without the long divisions of Decimal, which answers of tens of thousands of figures notice.
    let scale = amount.scale();
    if let (Ok(mantissa), 0..=NANOS_SCALE) = (i64::try_from(amount.mantissa()), scale) {
        let one = 10_i64.pow(scale);
        return (Some(mantissa / one), i32::try_from(mantissa % one * (NANOS / one)).ok());
    }
    (amount.trunc().to_i64(), (amount.fract() * Decimal::from(NANOS)).trunc().to_i32())
}

#[cfg(test)]
mod tests {
    use super::{Currency, Money, MoneyError};

    #[test]
    fn money_is_split_exactly() {
        let dollars: Currency = "USD".parse().unwrap();
        for (text, units, nanos) in [("7.25", 7, 250_000_000), ("0.01", 0, 10_000_000), ("-1.50", -1, -500_000_000)] {
            let money = dollars.money(text.parse().unwrap());
            assert_eq!((money.units, money.nanos, money.currency_code.as_str()), (units, nanos, "USD"));
        }
    }

    #[test]
    fn a_currency_has_three_capital_letters() {
        assert!("IDR".parse::<Currency>().is_ok());
        for text in ["", "US", "usd", "USDT", "U$D", "ÄÖÜ"] {
            assert!(text.parse::<Currency>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_amount_is_read_as_it_was_written() {
        let dollars: Currency = "USD".parse().unwrap();
        let long =
            ["9223372036854775807.999999999", "9223372036.854775807", "-9223372036.854775808", "12345678901234567.89"];
        for text in ["7.25", "0.01", "-1.50", "0", "-0.000000001", "0.5000"].into_iter().chain(long) {
            let amount = text.parse().unwrap();
            assert_eq!(dollars.amount(&dollars.money(amount)), Ok(amount));
        }
        let money = |currency: &str, units, nanos| Money { currency_code: currency.to_owned(), units, nanos };
        for (units, nanos) in [(1, -1), (-1, 1), (0, 1_000_000_000), (0, i32::MIN)] {
            assert_eq!(dollars.amount(&money("USD", units, nanos)), Err(MoneyError::Malformed));
        }
        let expected = "USD".to_owned();
        assert_eq!(dollars.amount(&money("EUR", 1, 0)), Err(MoneyError::WrongCurrency { expected }));
    }
}
