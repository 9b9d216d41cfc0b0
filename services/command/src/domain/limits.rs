//! Every limit of a sale. The primary's schema checks the same ones.

use rust_decimal::Decimal;

/// Items of one sale. A till's longest receipt fits many times over; a lane's batch stays small.
pub const MAX_ITEMS: usize = 500;
/// Sales of one batch that is stored as a whole: more would hold up the callers behind it, and an import is made for them.
pub const MAX_SALES: usize = 500;
/// Characters of a product code.
pub const MAX_PRODUCT_CODE: usize = 50;
/// Characters of a product name.
pub const MAX_PRODUCT_NAME: usize = 200;
/// Characters of a category.
pub const MAX_CATEGORY: usize = 100;
/// Characters of a payment method.
pub const MAX_PAYMENT_METHOD: usize = 50;
/// Pieces on one line.
pub const MAX_QUANTITY: i32 = 1_000_000;
/// Decimals of money: cents.
pub const MONEY_SCALE: u32 = 2;
/// Seconds that a sale may lie in the future: clocks of tills and time zones are off by less than a day.
pub const MAX_FUTURE_SECONDS: i64 = 24 * 60 * 60;
/// No sale is older than the year 2000, as a Unix time: an earlier one is a clock that was never set.
pub const MIN_TRANSACTION_TIME: i64 = 946_684_800;

/// The largest price of a piece: `NUMERIC(10,2)`.
pub const MAX_PRICE: Decimal = Decimal::from_parts(1_410_065_407, 2, 0, false, MONEY_SCALE);
/// The largest amount, of a line or a sale: `NUMERIC(12,2)`.
pub const MAX_AMOUNT: Decimal = Decimal::from_parts(3_567_587_327, 232, 0, false, MONEY_SCALE);

#[cfg(test)]
mod tests {
    use super::{MAX_AMOUNT, MAX_PRICE, MIN_TRANSACTION_TIME};

    #[test]
    fn the_limits_are_what_their_columns_hold() {
        assert_eq!(MAX_PRICE.to_string(), "99999999.99");
        assert_eq!(MAX_AMOUNT.to_string(), "9999999999.99");
        assert_eq!(
            chrono::DateTime::from_timestamp(MIN_TRANSACTION_TIME, 0).unwrap().to_rfc3339(),
            "2000-01-01T00:00:00+00:00"
        );
    }
}
