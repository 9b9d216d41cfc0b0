//! One sale, or a page of them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{Item, Page, Range, Sale, SalesPage, TransactionFilter, sales_that_fit};

struct Header {
    transaction_id: Uuid,
    transaction_time: DateTime<Utc>,
    cashier_id: i32,
    store_id: i32,
    payment_method: String,
    total_amount: Decimal,
    total_discount: Decimal,
    customer_id: Option<i32>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
    item_count: i64,
}

impl Header {
    fn with(self, items: Vec<Item>) -> Sale {
        Sale {
            transaction_id: self.transaction_id,
            transaction_time: self.transaction_time,
            cashier_id: self.cashier_id,
            store_id: self.store_id,
            payment_method: self.payment_method,
            total_amount: self.total_amount,
            total_discount: self.total_discount,
            customer_id: self.customer_id,
            created_at: self.created_at,
            updated_at: self.updated_at,
            version: self.version,
            items,
        }
    }
}

/// The sale with its items; `None` where there is none.
pub async fn find(connection: &mut PgConnection, transaction_id: Uuid) -> Result<Option<Sale>, sqlx::Error> {
    let header = sqlx::query_as!(
        Header,
        r#"
        select transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            customer_id, created_at, updated_at, version, 0::bigint as "item_count!"
        from sales.sales_transaction
        where transaction_id = $1
        "#,
        transaction_id,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(header) = header else { return Ok(None) };
    Ok(Some(header.with(items(connection, &[transaction_id]).await?)))
}

/// The sales of a page, newest first, and whether there are more behind it.
pub async fn page(
    connection: &mut PgConnection,
    range: Option<Range>,
    filter: &TransactionFilter,
    page: &Page,
) -> Result<SalesPage, sqlx::Error> {
    let mut headers = sqlx::query_file_as!(
        Header,
        "src/store/sale_page.sql",
        range.map(Range::start),
        range.map(Range::end),
        &filter.store_ids,
        &filter.cashier_ids,
        &filter.customer_ids,
        &filter.payment_methods,
        &filter.categories,
        &filter.product_codes,
        filter.min_total_amount,
        filter.max_total_amount,
        page.after.map(|cursor| cursor.transaction_time),
        page.after.map(|cursor| cursor.transaction_id),
        i64::from(page.size) + 1,
    )
    .fetch_all(&mut *connection)
    .await?;
    let found = headers.len();
    headers.truncate(sales_that_fit(page.size, headers.iter().map(|header| header.item_count)));
    let more = headers.len() < found;
    let ids: Vec<_> = headers.iter().map(|header| header.transaction_id).collect();
    let mut by_sale: HashMap<Uuid, Vec<Item>> = HashMap::with_capacity(ids.len());
    for item in items(connection, &ids).await? {
        by_sale.entry(item.transaction_id).or_default().push(item);
    }
    let whole = |header: Header| {
        let items = by_sale.remove(&header.transaction_id).unwrap_or_default();
        header.with(items)
    };
    Ok(SalesPage { sales: headers.into_iter().map(whole).collect(), more })
}

/// The items of these sales, those of one sale in the order in which they were added.
async fn items(connection: &mut PgConnection, transaction_ids: &[Uuid]) -> Result<Vec<Item>, sqlx::Error> {
    sqlx::query_as!(
        Item,
        "
        select item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
        from sales.sales_item
        where transaction_id = any($1)
        order by item_id
        ",
        transaction_ids,
    )
    .fetch_all(connection)
    .await
}
