//! A sale as the replica has it. The command service has checked it; here it is only read.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

/// A sale with its items.
#[derive(Clone, Debug)]
pub struct Sale {
    /// UUIDv7.
    pub transaction_id: Uuid,
    /// When it happened.
    pub transaction_time: DateTime<Utc>,
    /// Who rang it up.
    pub cashier_id: i32,
    /// Where.
    pub store_id: i32,
    /// How it was paid.
    pub payment_method: String,
    /// Sum over the items.
    pub total_amount: Decimal,
    /// Sum over the items.
    pub total_discount: Decimal,
    /// Who bought, unless anonymous.
    pub customer_id: Option<i32>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// 1 at first, one more with each change.
    pub version: i64,
    /// In the order in which they were added.
    pub items: Vec<Item>,
}

/// A line of a sale.
#[derive(Clone, Debug)]
pub struct Item {
    /// UUIDv7.
    pub item_id: Uuid,
    /// Of which sale.
    pub transaction_id: Uuid,
    /// Identifies the product.
    pub product_code: String,
    /// As the receipt names it.
    pub product_name: String,
    /// What kind of product.
    pub category: Option<String>,
    /// Pieces.
    pub quantity: i32,
    /// For a piece.
    pub unit_price: Decimal,
    /// Off the whole line.
    pub discount: Decimal,
    /// What the line comes to.
    pub total_price: Decimal,
}
