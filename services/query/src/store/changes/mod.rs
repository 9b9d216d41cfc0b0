//! What became of sales between two horizons.
//!
//! A horizon is the oldest database transaction that still ran at some moment: all before it had ended. What a sale looked
//! like there is told from its rows and its past rows, in any later snapshot, until past rows are purged.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use tandem_chassis::{database::DatabaseError, deadline::Deadline};
use tandem_replication::{Position, SystemIdentity};
use uuid::Uuid;

use super::Replica;
use crate::domain::{Change, Item, Sale};

/// What a snapshot shows of horizons.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Present {
    /// Whose horizons these are.
    pub replica: SystemIdentity,
    /// The newest one.
    pub xid: i64,
    /// The oldest one whose sales can still be told.
    pub kept_xid: i64,
    /// The last that a TRUNCATE has taken along; 0 for none.
    pub truncated_xid: i64,
}

/// A row of a sale as it looked at one of two horizons.
struct Header {
    is_before: bool,
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
}

/// The same of an item.
struct Line {
    is_before: bool,
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

impl Replica {
    /// Where horizons are now.
    pub async fn present(&self, deadline: Deadline) -> Result<Present, DatabaseError> {
        self.read(deadline, |connection| async move { Ok(present(connection).await?) }.boxed()).await
    }

    /// Sales behind `after`, in the order of their ids, that changed between two horizons; `most` at most.
    pub async fn touched(
        &self,
        (from_xid, until_xid): (i64, i64),
        after: Uuid,
        most: i64,
        deadline: Deadline,
    ) -> Result<(Present, Vec<Uuid>), DatabaseError> {
        self.read(deadline, move |connection| {
            async move {
                lock(connection).await?;
                let present = present(connection).await?;
                let touched = sqlx::query_scalar!(
                    r#"select tandem.touched_sales($1, $2, $3, $4) as "touched!""#,
                    from_xid,
                    until_xid,
                    after,
                    most,
                )
                .fetch_one(connection)
                .await?;
                Ok((present, touched))
            }
            .boxed()
        })
        .await
    }

    /// What became of these sales between two horizons, in their order; nothing of those that came and went.
    pub async fn changes(
        &self,
        sales: Vec<Uuid>,
        (from_xid, until_xid): (i64, i64),
        deadline: Deadline,
    ) -> Result<(Present, Vec<Change>), DatabaseError> {
        self.read(deadline, move |connection| {
            async move {
                lock(connection).await?;
                let present = present(connection).await?;
                let headers =
                    sqlx::query_file_as!(Header, "src/store/changes/headers.sql", &sales, from_xid, until_xid)
                        .fetch_all(&mut *connection)
                        .await?;
                let lines = sqlx::query_file_as!(Line, "src/store/changes/items.sql", &sales, from_xid, until_xid)
                    .fetch_all(connection)
                    .await?;
                Ok((present, put_together(&sales, headers, lines)))
            }
            .boxed()
        })
        .await
    }
}

/// Before the snapshot is taken: a TRUNCATE, which no snapshot knows of, comes before or after.
async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "lock table sales.sales_transaction, sales.sales_item, tandem.past_sale, tandem.past_item in access share mode"
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn present(connection: &mut PgConnection) -> Result<Present, sqlx::Error> {
    let row = sqlx::query_file!("src/store/changes/horizon.sql").fetch_one(&mut *connection).await?;
    let replica = Position::current(connection).await?.identity;
    Ok(Present { replica, xid: row.xid, kept_xid: row.kept_xid, truncated_xid: row.truncated_xid })
}

fn put_together(sales: &[Uuid], headers: Vec<Header>, lines: Vec<Line>) -> Vec<Change> {
    let mut items: HashMap<(bool, Uuid), Vec<Item>> = HashMap::new();
    for line in lines {
        items.entry((line.is_before, line.transaction_id)).or_default().push(line.item());
    }
    let mut found = HashMap::with_capacity(headers.len());
    for header in headers {
        let key = (header.is_before, header.transaction_id);
        found.insert(key, header.with(items.remove(&key).unwrap_or_default()));
    }
    let mut change = |id: Uuid| {
        let (before, after) = (found.remove(&(true, id)), found.remove(&(false, id)));
        (before.is_some() || after.is_some()).then_some(Change { transaction_id: id, before, after })
    };
    sales.iter().filter_map(|id| change(*id)).collect()
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

impl Line {
    fn item(self) -> Item {
        Item {
            item_id: self.item_id,
            transaction_id: self.transaction_id,
            product_code: self.product_code,
            product_name: self.product_name,
            category: self.category,
            quantity: self.quantity,
            unit_price: self.unit_price,
            discount: self.discount,
            total_price: self.total_price,
        }
    }
}
