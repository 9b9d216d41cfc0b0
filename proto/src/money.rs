//! Money on the wire and as an exact decimal.

use std::str::FromStr;

use rust_decimal::{Decimal, prelude::ToPrimitive as _};

use crate::google::r#type::Money;

/// Billionths in a unit.
const NANOS: i64 = 1_000_000_000;

/// The one currency of a deployment: three capital letters, ISO 4217.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Currency(String);

/// The text is no currency.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a currency of three capital letters such as USD: {0:?}")]
pub struct ParseCurrencyError(String);

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

    /// An amount of this currency.
    ///
    /// # Panics
    /// When the amount has more than eighteen digits before the point; digits beyond the ninth after it are cut off.
    pub fn money(&self, amount: Decimal) -> Money {
        let nanos = (amount.fract() * Decimal::from(NANOS)).trunc().to_i32();
        Money {
            currency_code: self.0.clone(),
            units: amount.trunc().to_i64().expect("sums of NUMERIC(12,2) have fewer than eighteen digits"),
            nanos: nanos.expect("a fraction of one has at most nine digits of nanos"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Currency;

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
}
