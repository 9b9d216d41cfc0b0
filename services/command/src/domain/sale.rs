//! A sale: header, items, totals.

use chrono::{DateTime, SubsecRound as _, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    etag::Etag,
    fault::{Fault, Violation},
    identity::{CashierId, CustomerId, StoreId},
    limits::{MAX_FUTURE_SECONDS, MAX_ITEMS, MAX_SALES, MIN_TRANSACTION_TIME},
    line::Line,
    money::Amount,
    text::PaymentMethod,
};

/// A stored sale.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sale {
    /// UUIDv7.
    pub transaction_id: Uuid,
    /// What the caller said of the sale.
    pub header: Header,
    /// At least one, in order of their ids.
    pub items: Vec<Item>,
    /// Those of the items.
    pub totals: Totals,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// 1 at first, one more with each change.
    pub version: i64,
}

/// What a caller says of a sale beside its items.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Header {
    /// When the sale happened.
    pub transaction_time: DateTime<Utc>,
    /// Who rang it up.
    pub cashier_id: CashierId,
    /// Where.
    pub store_id: StoreId,
    /// How it was paid.
    pub payment_method: PaymentMethod,
    /// Who bought; `None` for an anonymous customer.
    pub customer_id: Option<CustomerId>,
}

/// A stored line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Item {
    /// UUIDv7: items of a sale in order of their ids stand in the order in which they were added.
    pub item_id: Uuid,
    /// What was sold.
    pub line: Line,
}

/// Sums over the items of a sale.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Totals {
    /// Of `total_price`.
    pub amount: Amount,
    /// Of `discount`.
    pub discount: Amount,
}

impl Item {
    /// A new item whose id stands behind `last`, also where the clock has stepped back or another service's is ahead.
    pub fn after(last: Option<Uuid>, line: Line) -> Self {
        let made = Uuid::now_v7();
        let item_id = match last {
            Some(last) if last >= made => Uuid::from_u128(last.as_u128().wrapping_add(1)),
            _ => made,
        };
        Self { item_id, line }
    }

    /// New items in the order of their lines, all behind `last`.
    pub fn all_after(last: Option<Uuid>, lines: Vec<Line>) -> Vec<Self> {
        let mut items: Vec<Self> = Vec::with_capacity(lines.len());
        for line in lines {
            let last = items.last().map(|item| item.item_id).or(last);
            items.push(Self::after(last, line));
        }
        items
    }
}

impl Totals {
    /// Sums up; a violation at `transaction.total_amount` or `.total_discount` where a sum is more than an amount
    /// can be.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Result<Self, Violation> {
        let mut totals = Self { amount: Amount::ZERO, discount: Amount::ZERO };
        for line in lines {
            totals.amount = (totals.amount.plus(line.total_price()))
                .map_err(|fault| Violation::new("transaction.total_amount", fault))?;
            totals.discount = (totals.discount.plus(line.parts().discount))
                .map_err(|fault| Violation::new("transaction.total_discount", fault))?;
        }
        Ok(totals)
    }
}

impl Sale {
    /// Names the version that is stored.
    pub const fn etag(&self) -> Etag {
        Etag::of_version(self.version)
    }
}

/// Checks how many items a sale has.
pub fn item_count(count: usize) -> Result<(), Fault> {
    match count {
        0 => Err(Fault::NoItems),
        1..=MAX_ITEMS => Ok(()),
        actual => Err(Fault::TooManyItems { max: MAX_ITEMS, actual }),
    }
}

/// Checks how many sales a batch has.
pub fn sale_count(count: usize) -> Result<(), Fault> {
    match count {
        0 => Err(Fault::NoSales),
        1..=MAX_SALES => Ok(()),
        actual => Err(Fault::TooManySales { max: MAX_SALES, actual }),
    }
}

/// Checks when a sale happened; what PostgreSQL does not store, below a microsecond, is cut off.
pub fn transaction_time(time: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Fault> {
    if time.timestamp() < MIN_TRANSACTION_TIME {
        Err(Fault::TooOld)
    } else if (time - now).num_seconds() > MAX_FUTURE_SECONDS {
        Err(Fault::InTheFuture)
    } else {
        Ok(to_microseconds(time))
    }
}

/// Cuts off what PostgreSQL would not store, so that an answer shows what is stored.
pub fn to_microseconds(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

#[cfg(test)]
mod tests {
    use super::{Item, Uuid};
    use crate::domain::{
        Expected, Line, LineParts,
        money::{Amount, Price, Quantity},
        text::{ProductCode, ProductName},
    };

    fn line() -> Line {
        let parts = LineParts {
            product_code: ProductCode::parse("A".to_owned()).unwrap(),
            product_name: ProductName::parse("A".to_owned()).unwrap(),
            category: None,
            quantity: Quantity::parse(1).unwrap(),
            unit_price: Price::parse("1.00".parse().unwrap()).unwrap(),
            discount: Amount::ZERO,
        };
        Line::new(parts, Expected(None), "item").unwrap()
    }

    #[test]
    fn items_stand_in_the_order_in_which_they_were_added_though_a_clock_was_ahead() {
        let ahead = Uuid::from_u128(Uuid::now_v7().as_u128() + (3_600_000_u128 << 80));
        let items = Item::all_after(Some(ahead), vec![line(), line(), line()]);
        let ids: Vec<_> = [ahead].into_iter().chain(items.iter().map(|item| item.item_id)).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        assert!(items.iter().all(|item| item.item_id.get_version_num() == 7));
    }
}
