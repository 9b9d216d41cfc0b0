//! One sale, or a page of them.

use std::collections::{HashMap, hash_map::Entry};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use tandem_replication::{Lsn, Position};
use uuid::Uuid;

use super::replication::Look;
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

/// One item of a sale, or a sale without any, or neither.
struct Line {
    transaction_id: Option<Uuid>,
    transaction_time: Option<DateTime<Utc>>,
    cashier_id: Option<i32>,
    store_id: Option<i32>,
    payment_method: Option<String>,
    total_amount: Option<Decimal>,
    total_discount: Option<Decimal>,
    customer_id: Option<i32>,
    created_at: Option<DateTime<Utc>>,
    updated_at: Option<DateTime<Utc>>,
    version: Option<i64>,
    item_id: Option<Uuid>,
    product_code: Option<String>,
    product_name: Option<String>,
    category: Option<String>,
    quantity: Option<i32>,
    unit_price: Option<Decimal>,
    discount: Option<Decimal>,
    total_price: Option<Decimal>,
    tables_copying: i64,
    received_lsn: Option<Lsn>,
    applied_lsn: Option<Lsn>,
    system_identifier: Option<i64>,
    timeline: Option<i32>,
    lsn: Option<Lsn>,
    written_at: Option<DateTime<Utc>>,
}

impl Line {
    fn look(&self) -> Look {
        Look {
            tables_copying: self.tables_copying,
            received_lsn: self.received_lsn,
            applied_lsn: self.applied_lsn,
            system_identifier: self.system_identifier,
            timeline: self.timeline,
            lsn: self.lsn,
            written_at: self.written_at,
        }
    }

    /// The sale, without items.
    fn sale(&mut self) -> Option<Sale> {
        Some(Sale {
            transaction_id: self.transaction_id?,
            transaction_time: self.transaction_time?,
            cashier_id: self.cashier_id?,
            store_id: self.store_id?,
            payment_method: self.payment_method.take()?,
            total_amount: self.total_amount?,
            total_discount: self.total_discount?,
            customer_id: self.customer_id,
            created_at: self.created_at?,
            updated_at: self.updated_at?,
            version: self.version?,
            items: Vec::new(),
        })
    }

    fn item(self) -> Option<Item> {
        Some(Item {
            item_id: self.item_id?,
            transaction_id: self.transaction_id?,
            product_code: self.product_code?,
            product_name: self.product_name?,
            category: self.category,
            quantity: self.quantity?,
            unit_price: self.unit_price?,
            discount: self.discount?,
            total_price: self.total_price?,
        })
    }
}

/// Those of these sales that are there, with their items; and a position that nothing in them lies behind. One
/// statement, to be asked by itself.
pub async fn find(
    connection: &mut PgConnection,
    transaction_ids: &[Uuid],
    subscription: &str,
) -> Result<(HashMap<Uuid, Sale>, Option<Position>), sqlx::Error> {
    let lines = sqlx::query_file_as!(Line, "src/store/sale_with_items.sql", transaction_ids, subscription)
        .fetch_all(connection)
        .await?;
    let covered = lines.first().and_then(|line| line.look().covered());
    let mut sales = HashMap::with_capacity(transaction_ids.len());
    for mut line in lines {
        let Some(transaction_id) = line.transaction_id else { continue };
        let sale = match sales.entry(transaction_id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => match line.sale() {
                Some(sale) => new.insert(sale),
                None => continue,
            },
        };
        sale.items.extend(line.item());
    }
    Ok((sales, covered))
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
