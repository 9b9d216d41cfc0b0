//! Table `sales.sales_item`.

use std::collections::HashMap;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::sale::stored;
use crate::domain::{
    Expected, Item, Line, LineParts, Violation,
    money::{Amount, Price, Quantity},
    text::{Category, ProductCode, ProductName},
};

/// The items of these sales, those of a sale in the order in which they were added; or what is wrong with one of them,
/// if somebody wrote it past this service.
pub async fn of_sales(
    connection: &mut PgConnection,
    transaction_ids: &[Uuid],
) -> Result<HashMap<Uuid, Result<Vec<Item>, Violation>>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "
        select item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
        from sales.sales_item
        where transaction_id = any($1)
        order by item_id
        ",
        transaction_ids,
    )
    .fetch_all(connection)
    .await?;
    let mut by_sale: HashMap<Uuid, Vec<Row>> = HashMap::with_capacity(transaction_ids.len());
    for row in rows {
        by_sale.entry(row.transaction_id).or_default().push(row);
    }
    Ok(by_sale.into_iter().map(|(id, rows)| (id, rows.into_iter().map(Row::item).collect())).collect())
}

struct Row {
    item_id: Uuid,
    transaction_id: Uuid,
    product_code: String,
    product_name: String,
    category: Option<String>,
    quantity: i32,
    unit_price: Decimal,
    discount: Decimal,
    total_price: Decimal,
}

impl Row {
    fn item(self) -> Result<Item, Violation> {
        let parts = LineParts {
            product_code: stored("product_code", ProductCode::parse(self.product_code))?,
            product_name: stored("product_name", ProductName::parse(self.product_name))?,
            category: self.category.map(|text| stored("category", Category::parse(text))).transpose()?,
            quantity: stored("quantity", Quantity::parse(self.quantity))?,
            unit_price: stored("unit_price", Price::parse(self.unit_price))?,
            discount: stored("discount", Amount::parse(self.discount))?,
        };
        let total_price = stored("total_price", Amount::parse(self.total_price))?;
        let line = Line::new(parts, Expected(Some(total_price)), "sales_item");
        Ok(Item { item_id: self.item_id, line: line? })
    }
}

/// Columns of many items, as `unnest` takes them.
#[derive(Default)]
pub struct Columns {
    pub item_id: Vec<Uuid>,
    pub transaction_id: Vec<Uuid>,
    pub product_code: Vec<String>,
    pub product_name: Vec<String>,
    pub category: Vec<Option<String>>,
    pub quantity: Vec<i32>,
    pub unit_price: Vec<Decimal>,
    pub discount: Vec<Decimal>,
    pub total_price: Vec<Decimal>,
}

impl Columns {
    /// Adds an item of a sale.
    pub fn push(&mut self, transaction_id: Uuid, item: &Item) {
        let parts = item.line.parts();
        self.item_id.push(item.item_id);
        self.transaction_id.push(transaction_id);
        self.product_code.push(parts.product_code.as_str().to_owned());
        self.product_name.push(parts.product_name.as_str().to_owned());
        self.category.push(parts.category.as_ref().map(|category| category.as_str().to_owned()));
        self.quantity.push(parts.quantity.get());
        self.unit_price.push(parts.unit_price.get());
        self.discount.push(parts.discount.get());
        self.total_price.push(item.line.total_price().get());
    }
}

/// Adds items to sales whose headers are there already.
pub async fn insert(connection: &mut PgConnection, columns: &Columns) -> Result<(), sqlx::Error> {
    if columns.item_id.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into sales.sales_item (
            item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
        )
        select item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
        from unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::numeric[], $8::numeric[],
            $9::numeric[]
        ) as item (
            item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
        )
        ",
        &columns.item_id,
        &columns.transaction_id,
        &columns.product_code,
        &columns.product_name,
        &columns.category as &[Option<String>],
        &columns.quantity,
        &columns.unit_price,
        &columns.discount,
        &columns.total_price,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes items that are there already.
pub async fn update(connection: &mut PgConnection, columns: &Columns) -> Result<(), sqlx::Error> {
    if columns.item_id.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        update sales.sales_item
        set product_code = item.product_code,
            product_name = item.product_name,
            category = item.category,
            quantity = item.quantity,
            unit_price = item.unit_price,
            discount = item.discount,
            total_price = item.total_price
        from unnest(
            $1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::numeric[], $7::numeric[], $8::numeric[]
        ) as item (item_id, product_code, product_name, category, quantity, unit_price, discount, total_price)
        where sales_item.item_id = item.item_id
        ",
        &columns.item_id,
        &columns.product_code,
        &columns.product_name,
        &columns.category as &[Option<String>],
        &columns.quantity,
        &columns.unit_price,
        &columns.discount,
        &columns.total_price,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes items off.
pub async fn delete(connection: &mut PgConnection, item_ids: &[Uuid]) -> Result<(), sqlx::Error> {
    if item_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!("delete from sales.sales_item where item_id = any($1)", item_ids).execute(connection).await?;
    Ok(())
}
