//! A sale's fields and lines.

use std::fmt::Display;

use tandem_proto::sales::v1::{SalesItem, SalesTransaction};

use super::reader::Reader;
use crate::domain::{
    Expected, Fault, Header, Line, LineParts, NewSale,
    identity::{CashierId, CustomerId, StoreId},
    money::{Amount, Quantity},
    sale::item_count,
    text::{Category, PaymentMethod, ProductCode, ProductName},
};

/// A whole new sale.
pub fn new_sale(reader: &mut Reader<'_>, sale: SalesTransaction) -> Option<NewSale> {
    let amount = expected(reader, "transaction.total_amount", sale.total_amount.as_ref());
    let discount = expected(reader, "transaction.total_discount", sale.total_discount.as_ref());
    let lines = lines(reader, "transaction.items", sale.items);
    let time = match sale.transaction_time {
        Some(time) => reader.time("transaction.transaction_time", time),
        None => {
            reader.wrong("transaction.transaction_time", Fault::Missing);
            None
        }
    };
    let cashier_id = reader.check("transaction.cashier_id", CashierId::parse(sale.cashier_id));
    let store_id = reader.check("transaction.store_id", StoreId::parse(sale.store_id));
    let payment_method = reader.check("transaction.payment_method", PaymentMethod::parse(sale.payment_method));
    let customer_id = match sale.customer_id {
        Some(id) => reader.check("transaction.customer_id", CustomerId::parse(id)).map(Some),
        None => Some(None),
    };
    let header = Header {
        transaction_time: time?,
        cashier_id: cashier_id?,
        store_id: store_id?,
        payment_method: payment_method?,
        customer_id: customer_id?,
    };
    reader.keep(NewSale::new(header, lines?, amount?, discount?))
}

/// All lines of a sale; `None` when any of them is wrong.
pub fn lines(reader: &mut Reader<'_>, field: impl Display + Copy, items: Vec<SalesItem>) -> Option<Vec<Line>> {
    // Too many items are not looked at one by one: that would be work without a limit.
    reader.check(field, item_count(items.len()))?;
    let lines: Vec<_> = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| line(reader, format_args!("{field}[{index}]"), item))
        .collect();
    lines.into_iter().collect()
}

/// One line; `field` is its path in the request.
pub fn line(reader: &mut Reader<'_>, field: impl Display, item: SalesItem) -> Option<Line> {
    let product_code = reader.check(format_args!("{field}.product_code"), ProductCode::parse(item.product_code));
    let product_name = reader.check(format_args!("{field}.product_name"), ProductName::parse(item.product_name));
    let category = match item.category {
        Some(text) => reader.check(format_args!("{field}.category"), Category::parse(text)).map(Some),
        None => Some(None),
    };
    let quantity = reader.check(format_args!("{field}.quantity"), Quantity::parse(item.quantity));
    let unit_price = match &item.unit_price {
        Some(money) => reader.price(format_args!("{field}.unit_price"), money),
        None => reader.check(format_args!("{field}.unit_price"), Err(Fault::Missing)),
    };
    let discount = match &item.discount {
        Some(money) => reader.amount(format_args!("{field}.discount"), money),
        None => Some(Amount::ZERO),
    };
    let total_price = expected(reader, format_args!("{field}.total_price"), item.total_price.as_ref());
    let parts = LineParts {
        product_code: product_code?,
        product_name: product_name?,
        category: category?,
        quantity: quantity?,
        unit_price: unit_price?,
        discount: discount?,
    };
    reader.keep(Line::new(parts, total_price?, field).map_err(|violation| vec![violation]))
}

/// A figure that the caller may leave to the server.
pub fn expected(
    reader: &mut Reader<'_>,
    field: impl Display,
    money: Option<&tandem_proto::google::r#type::Money>,
) -> Option<Expected> {
    match money {
        Some(money) => reader.amount(field, money).map(|amount| Expected(Some(amount))),
        None => Some(Expected(None)),
    }
}
