//! Table `sales.sales_transaction`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::item;
use crate::domain::{
    Fault, Header, Item, NewSale, Sale, Totals, Violation,
    identity::{CashierId, CustomerId, StoreId},
    money::Amount,
    text::PaymentMethod,
};

struct Row {
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

impl Row {
    fn with(self, items: Vec<Item>) -> Result<Sale, Violation> {
        let header = Header {
            transaction_time: self.transaction_time,
            cashier_id: stored("cashier_id", CashierId::parse(self.cashier_id))?,
            store_id: stored("store_id", StoreId::parse(self.store_id))?,
            payment_method: stored("payment_method", PaymentMethod::parse(self.payment_method))?,
            customer_id: self.customer_id.map(|id| stored("customer_id", CustomerId::parse(id))).transpose()?,
        };
        let totals = Totals {
            amount: stored("total_amount", Amount::parse(self.total_amount))?,
            discount: stored("total_discount", Amount::parse(self.total_discount))?,
        };
        let (created_at, updated_at, version) = (self.created_at, self.updated_at, self.version);
        Ok(Sale { transaction_id: self.transaction_id, header, items, totals, created_at, updated_at, version })
    }
}

/// Those of these sales that are there, with their items, locked until the transaction's end; each with what is wrong
/// with it, if somebody wrote it past this service. Locked in the order of the ids, so that two transactions can't wait
/// for each other.
pub async fn lock(
    connection: &mut PgConnection,
    transaction_ids: &[Uuid],
) -> Result<HashMap<Uuid, Result<Sale, Violation>>, sqlx::Error> {
    if transaction_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query_as!(
        Row,
        "
        select transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            customer_id, created_at, updated_at, version
        from sales.sales_transaction
        where transaction_id = any($1)
        order by transaction_id
        for update
        ",
        transaction_ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut items = item::of_sales(connection, transaction_ids).await?;
    let whole = |row: Row| {
        let id = row.transaction_id;
        (id, items.remove(&id).unwrap_or_else(|| Ok(Vec::new())).and_then(|items| row.with(items)))
    };
    Ok(rows.into_iter().map(whole).collect())
}

/// Columns of many headers, as `unnest` takes them.
#[derive(Default)]
pub struct Columns {
    pub transaction_id: Vec<Uuid>,
    pub transaction_time: Vec<DateTime<Utc>>,
    pub cashier_id: Vec<i32>,
    pub store_id: Vec<i32>,
    pub payment_method: Vec<String>,
    pub total_amount: Vec<Decimal>,
    pub total_discount: Vec<Decimal>,
    pub customer_id: Vec<Option<i32>>,
    created_at: Vec<DateTime<Utc>>,
    updated_at: Vec<DateTime<Utc>>,
    version: Vec<i64>,
}

impl Columns {
    /// Adds a new sale, without what is the same for all of them.
    pub fn push_new(&mut self, new: &NewSale) {
        self.push_header(new.transaction_id(), new.header(), new.totals());
    }

    fn push(&mut self, sale: &Sale) {
        self.push_header(sale.transaction_id, &sale.header, sale.totals);
        self.created_at.push(sale.created_at);
        self.updated_at.push(sale.updated_at);
        self.version.push(sale.version);
    }

    fn push_header(&mut self, transaction_id: Uuid, header: &Header, totals: Totals) {
        self.transaction_id.push(transaction_id);
        self.transaction_time.push(header.transaction_time);
        self.cashier_id.push(header.cashier_id.get());
        self.store_id.push(header.store_id.get());
        self.payment_method.push(header.payment_method.as_str().to_owned());
        self.total_amount.push(totals.amount.get());
        self.total_discount.push(totals.discount.get());
        self.customer_id.push(header.customer_id.map(CustomerId::get));
    }

    fn of(sales: &[&Sale]) -> Self {
        let mut columns = Self::default();
        sales.iter().for_each(|sale| columns.push(sale));
        columns
    }
}

/// Adds the headers of new sales. Comes before their items, also in the WAL.
pub async fn insert(connection: &mut PgConnection, sales: &[&Sale]) -> Result<(), sqlx::Error> {
    if sales.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(sales);
    sqlx::query!(
        "
        insert into sales.sales_transaction (
            transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            customer_id, created_at, updated_at, version
        )
        select
            transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            customer_id, created_at, updated_at, version
        from unnest(
            $1::uuid[], $2::timestamptz[], $3::integer[], $4::integer[], $5::text[], $6::numeric[], $7::numeric[],
            $8::integer[], $9::timestamptz[], $10::timestamptz[], $11::bigint[]
        ) as sale (
            transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            customer_id, created_at, updated_at, version
        )
        ",
        &columns.transaction_id,
        &columns.transaction_time,
        &columns.cashier_id,
        &columns.store_id,
        &columns.payment_method,
        &columns.total_amount,
        &columns.total_discount,
        &columns.customer_id as &[Option<i32>],
        &columns.created_at,
        &columns.updated_at,
        &columns.version,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the headers of sales that this transaction has locked.
pub async fn update(connection: &mut PgConnection, sales: &[&Sale]) -> Result<(), sqlx::Error> {
    if sales.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(sales);
    sqlx::query!(
        "
        update sales.sales_transaction
        set transaction_time = sale.transaction_time,
            cashier_id = sale.cashier_id,
            store_id = sale.store_id,
            payment_method = sale.payment_method,
            total_amount = sale.total_amount,
            total_discount = sale.total_discount,
            customer_id = sale.customer_id,
            updated_at = sale.updated_at,
            version = sale.version
        from unnest(
            $1::uuid[], $2::timestamptz[], $3::integer[], $4::integer[], $5::text[], $6::numeric[], $7::numeric[],
            $8::integer[], $9::timestamptz[], $10::bigint[]
        ) as sale (
            transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            customer_id, updated_at, version
        )
        where sales_transaction.transaction_id = sale.transaction_id
        ",
        &columns.transaction_id,
        &columns.transaction_time,
        &columns.cashier_id,
        &columns.store_id,
        &columns.payment_method,
        &columns.total_amount,
        &columns.total_discount,
        &columns.customer_id as &[Option<i32>],
        &columns.updated_at,
        &columns.version,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes sales that this transaction has locked; their items go with them.
pub async fn delete(connection: &mut PgConnection, transaction_ids: &[Uuid]) -> Result<(), sqlx::Error> {
    if transaction_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!("delete from sales.sales_transaction where transaction_id = any($1)", transaction_ids)
        .execute(connection)
        .await?;
    Ok(())
}

/// A stored value; one that breaks a rule was written past this service.
pub fn stored<T>(column: &str, value: Result<T, Fault>) -> Result<T, Violation> {
    value.map_err(|fault| Violation::new(column, fault))
}
