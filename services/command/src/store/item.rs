//! Table `sales.sales_item`.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{error::StoreError, sale::stored};
use crate::domain::{
    Expected, Item, Line, LineParts,
    money::{Amount, Price, Quantity},
    text::{Category, ProductCode, ProductName},
};

/// The items of a sale in the order in which they were added.
pub async fn of_sale(connection: &mut PgConnection, transaction_id: Uuid) -> Result<Vec<Item>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "
        select item_id, product_code, product_name, category, quantity, unit_price, discount, total_price
        from sales.sales_item
        where transaction_id = $1
        order by item_id
        ",
        transaction_id,
    )
    .fetch_all(connection)
    .await?;
    let item = |row: Row| {
        let parts = LineParts {
            product_code: stored("product_code", ProductCode::parse(row.product_code))?,
            product_name: stored("product_name", ProductName::parse(row.product_name))?,
            category: row.category.map(|text| stored("category", Category::parse(text))).transpose()?,
            quantity: stored("quantity", Quantity::parse(row.quantity))?,
            unit_price: stored("unit_price", Price::parse(row.unit_price))?,
            discount: stored("discount", Amount::parse(row.discount))?,
        };
        let total_price = stored("total_price", Amount::parse(row.total_price))?;
        let line = Line::new(parts, Expected(Some(total_price)), "sales_item");
        Ok(Item { item_id: row.item_id, line: line.map_err(StoreError::StoredSaleInvalid)? })
    };
    rows.into_iter().map(item).collect()
}

struct Row {
    item_id: Uuid,
    product_code: String,
    product_name: String,
    category: Option<String>,
    quantity: i32,
    unit_price: Decimal,
    discount: Decimal,
    total_price: Decimal,
}

/// Columns of many items, as `unnest` takes them.
#[derive(Default)]
struct Columns {
    item_id: Vec<Uuid>,
    product_code: Vec<String>,
    product_name: Vec<String>,
    category: Vec<Option<String>>,
    quantity: Vec<i32>,
    unit_price: Vec<Decimal>,
    discount: Vec<Decimal>,
    total_price: Vec<Decimal>,
}

impl Columns {
    fn of(items: &[Item]) -> Self {
        let mut columns = Self::default();
        for Item { item_id, line } in items {
            let parts = line.parts();
            columns.item_id.push(*item_id);
            columns.product_code.push(parts.product_code.as_str().to_owned());
            columns.product_name.push(parts.product_name.as_str().to_owned());
            columns.category.push(parts.category.as_ref().map(|category| category.as_str().to_owned()));
            columns.quantity.push(parts.quantity.get());
            columns.unit_price.push(parts.unit_price.get());
            columns.discount.push(parts.discount.get());
            columns.total_price.push(line.total_price().get());
        }
        columns
    }
}

/// Adds items to a sale whose header is there already.
pub async fn insert(connection: &mut PgConnection, transaction_id: Uuid, items: &[Item]) -> Result<(), StoreError> {
    if items.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(items);
    sqlx::query!(
        "
        insert into sales.sales_item (
            item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
        )
        select item_id, $1, product_code, product_name, category, quantity, unit_price, discount, total_price
        from unnest(
            $2::uuid[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::numeric[], $8::numeric[], $9::numeric[]
        ) as item (item_id, product_code, product_name, category, quantity, unit_price, discount, total_price)
        ",
        transaction_id,
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

/// Writes items that are there already.
pub async fn update(connection: &mut PgConnection, items: &[Item]) -> Result<(), StoreError> {
    if items.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(items);
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
pub async fn delete(connection: &mut PgConnection, item_ids: &[Uuid]) -> Result<(), StoreError> {
    if item_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!("delete from sales.sales_item where item_id = any($1)", item_ids).execute(connection).await?;
    Ok(())
}
