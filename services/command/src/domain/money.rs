//! Money: exact decimals of two places, never below zero, never a float. One currency a deployment.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    fault::Fault,
    limits::{MAX_AMOUNT, MAX_PRICE, MAX_QUANTITY, MONEY_SCALE},
};

/// Billionths in a unit, the wire's fraction.
const NANOS: i128 = 1_000_000_000;
/// Billionths in a cent.
const NANOS_PER_CENT: i128 = NANOS / 100;

/// Money of a line or a sale: 0 to 9,999,999,999.99.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Amount(Decimal);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Checks sign, decimals and size.
    pub fn parse(value: Decimal) -> Result<Self, Fault> {
        bounded(value, MAX_AMOUNT).map(Self)
    }

    /// With exactly two decimals.
    pub const fn get(self) -> Decimal {
        self.0
    }

    /// The sum, unless it is more than an amount can be.
    pub fn plus(self, other: Self) -> Result<Self, Fault> {
        Self::parse(self.0 + other.0)
    }
}

/// The price of one piece: 0 to 99,999,999.99.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Price(Decimal);

impl Price {
    /// Checks sign, decimals and size.
    pub fn parse(value: Decimal) -> Result<Self, Fault> {
        bounded(value, MAX_PRICE).map(Self)
    }

    /// With exactly two decimals.
    pub const fn get(self) -> Decimal {
        self.0
    }
}

/// Pieces on a line: 1 to 1,000,000.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Quantity(i32);

impl Quantity {
    /// Checks the range.
    pub fn parse(pieces: i32) -> Result<Self, Fault> {
        if (1..=MAX_QUANTITY).contains(&pieces) {
            Ok(Self(pieces))
        } else {
            Err(Fault::OutOfRange { min: 1, max: MAX_QUANTITY.into(), actual: pieces.into() })
        }
    }

    /// As the column holds it.
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// The value of whole units and billionths, as `google.type.Money` splits it. Exact for every pair that it takes.
pub fn from_units_and_nanos(units: i64, nanos: i32) -> Result<Decimal, Fault> {
    let nanos = i128::from(nanos);
    let disagree = (units > 0 && nanos < 0) || (units < 0 && nanos > 0);
    if disagree || nanos.abs() >= NANOS {
        return Err(Fault::MalformedMoney);
    }
    let total = i128::from(units) * NANOS + nanos;
    if total % NANOS_PER_CENT != 0 {
        return Err(Fault::TooManyDecimals);
    }
    let cents = total / NANOS_PER_CENT;
    Decimal::try_from_i128_with_scale(cents, MONEY_SCALE).map_err(|_| Fault::TooLarge { max: MAX_AMOUNT })
}

fn bounded(value: Decimal, max: Decimal) -> Result<Decimal, Fault> {
    if value.is_sign_negative() && !value.is_zero() {
        return Err(Fault::Negative);
    }
    let mut cents = value.normalize();
    if cents.scale() > MONEY_SCALE {
        return Err(Fault::TooManyDecimals);
    }
    if cents > max {
        return Err(Fault::TooLarge { max });
    }
    cents.rescale(MONEY_SCALE);
    Ok(cents)
}

#[cfg(test)]
mod tests {
    use super::{Amount, Fault, MAX_AMOUNT, Price, from_units_and_nanos};

    #[test]
    fn units_and_nanos_make_exact_cents() {
        for (units, nanos, text) in
            [(7, 250_000_000, "7.25"), (0, 10_000_000, "0.01"), (-1, -500_000_000, "-1.50"), (0, 0, "0.00")]
        {
            assert_eq!(from_units_and_nanos(units, nanos).unwrap().to_string(), text);
        }
    }

    #[test]
    fn fractions_of_a_cent_are_refused_and_not_rounded() {
        assert_eq!(from_units_and_nanos(1, 1), Err(Fault::TooManyDecimals));
        assert_eq!(from_units_and_nanos(1, 999_999_999), Err(Fault::TooManyDecimals));
    }

    #[test]
    fn units_and_nanos_that_disagree_are_refused() {
        for (units, nanos) in [(1, -10_000_000), (-1, 10_000_000), (0, 1_000_000_000), (0, i32::MIN)] {
            assert_eq!(from_units_and_nanos(units, nanos), Err(Fault::MalformedMoney), "{units} {nanos}");
        }
    }

    #[test]
    fn the_largest_numbers_are_refused_and_do_not_overflow() {
        let huge = from_units_and_nanos(i64::MAX, 990_000_000).unwrap();
        assert_eq!(Amount::parse(huge), Err(Fault::TooLarge { max: MAX_AMOUNT }));
        assert!(matches!(Price::parse(huge), Err(Fault::TooLarge { .. })));
        assert_eq!(Amount::parse(from_units_and_nanos(i64::MIN, 0).unwrap()), Err(Fault::Negative));
    }

    #[test]
    fn a_sum_above_the_limit_is_refused() {
        let most = Amount::parse(MAX_AMOUNT).unwrap();
        let cent = Amount::parse("0.01".parse().unwrap()).unwrap();
        assert!(most.plus(Amount::ZERO).is_ok());
        assert_eq!(most.plus(cent), Err(Fault::TooLarge { max: MAX_AMOUNT }));
    }
}
