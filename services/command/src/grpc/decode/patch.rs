//! New values for some fields of a sale or a line, as a field mask names them.

use tandem_proto::sales::v1::{SalesItem, SalesTransaction};

use super::{
    mask::Mask,
    reader::Reader,
    sale::{expected, lines},
};
use crate::domain::{
    Fault, LinePatch, SalePatch,
    identity::{CashierId, CustomerId, StoreId},
    money::{Amount, Quantity},
    text::{Category, PaymentMethod, ProductCode, ProductName},
};

/// What a mask of a sale may name. The totals are no fields to set: named, they are compared.
pub const SALE_FIELDS: [&str; 8] = [
    "transaction_time",
    "cashier_id",
    "store_id",
    "payment_method",
    "customer_id",
    "items",
    "total_amount",
    "total_discount",
];

/// What a mask of an item may name. The total is no field to set: named, it is compared.
pub const LINE_FIELDS: [&str; 7] =
    ["product_code", "product_name", "category", "quantity", "unit_price", "discount", "total_price"];

/// Reads the fields of a sale that the mask covers; a patch of nothing is refused.
pub fn sale(reader: &mut Reader<'_>, mask: &Mask, sale: SalesTransaction) -> Option<SalePatch> {
    let mut patch = SalePatch::default();
    let mut changes = false;
    let mut covers = |field: &str, is_set: bool| {
        let covered = mask.covers(field, is_set);
        changes |= covered;
        covered
    };
    if covers("transaction_time", sale.transaction_time.is_some()) {
        let field = "transaction.transaction_time";
        patch.transaction_time = match sale.transaction_time {
            Some(time) => reader.time(field, time),
            None => reader.check(field, Err(Fault::Missing)),
        };
    }
    if covers("cashier_id", sale.cashier_id != 0) {
        patch.cashier_id = reader.check("transaction.cashier_id", CashierId::parse(sale.cashier_id));
    }
    if covers("store_id", sale.store_id != 0) {
        patch.store_id = reader.check("transaction.store_id", StoreId::parse(sale.store_id));
    }
    if covers("payment_method", !sale.payment_method.is_empty()) {
        patch.payment_method = reader.check("transaction.payment_method", PaymentMethod::parse(sale.payment_method));
    }
    if covers("customer_id", sale.customer_id.is_some()) {
        patch.customer_id =
            reader.check("transaction.customer_id", sale.customer_id.map(CustomerId::parse).transpose());
    }
    if covers("items", !sale.items.is_empty()) {
        patch.lines = lines(reader, "transaction.items", sale.items);
    }
    if !changes {
        reader.wrong("update_mask", Fault::NothingToChange);
    }
    if mask.covers("total_amount", sale.total_amount.is_some()) {
        let read = expected(reader, "transaction.total_amount", sale.total_amount.as_ref());
        patch.expected_amount = read.unwrap_or_default();
    }
    if mask.covers("total_discount", sale.total_discount.is_some()) {
        let read = expected(reader, "transaction.total_discount", sale.total_discount.as_ref());
        patch.expected_discount = read.unwrap_or_default();
    }
    Some(patch)
}

/// Reads the fields of a line that the mask covers; a patch of nothing is refused.
pub fn line(reader: &mut Reader<'_>, mask: &Mask, item: SalesItem) -> Option<LinePatch> {
    let mut patch = LinePatch::default();
    let mut changes = false;
    let mut covers = |field: &str, is_set: bool| {
        let covered = mask.covers(field, is_set);
        changes |= covered;
        covered
    };
    if covers("product_code", !item.product_code.is_empty()) {
        patch.product_code = reader.check("item.product_code", ProductCode::parse(item.product_code));
    }
    if covers("product_name", !item.product_name.is_empty()) {
        patch.product_name = reader.check("item.product_name", ProductName::parse(item.product_name));
    }
    if covers("category", item.category.is_some()) {
        patch.category = reader.check("item.category", item.category.map(Category::parse).transpose());
    }
    if covers("quantity", item.quantity != 0) {
        patch.quantity = reader.check("item.quantity", Quantity::parse(item.quantity));
    }
    if covers("unit_price", item.unit_price.is_some()) {
        patch.unit_price = match &item.unit_price {
            Some(money) => reader.price("item.unit_price", money),
            None => reader.check("item.unit_price", Err(Fault::Missing)),
        };
    }
    if covers("discount", item.discount.is_some()) {
        patch.discount = match &item.discount {
            Some(money) => reader.amount("item.discount", money),
            None => Some(Amount::ZERO),
        };
    }
    if !changes {
        reader.wrong("update_mask", Fault::NothingToChange);
    }
    if mask.covers("total_price", item.total_price.is_some()) {
        let read = expected(reader, "item.total_price", item.total_price.as_ref());
        patch.expected_total = read.unwrap_or_default();
    }
    Some(patch)
}
