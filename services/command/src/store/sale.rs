//! Table `sales.sales_transaction`.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{error::StoreError, item};
use crate::domain::{
    Fault, Header, Sale, Totals, Violation,
    identity::{CashierId, CustomerId, StoreId},
    money::Amount,
    text::PaymentMethod,
};

/// The sale with its items, locked until the transaction's end; `None` where there is none.
pub async fn lock(connection: &mut PgConnection, transaction_id: Uuid) -> Result<Option<Sale>, StoreError> {
    let row = sqlx::query!(
        "
        select transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount, customer_id,
            created_at, updated_at, version
        from sales.sales_transaction
        where transaction_id = $1
        for update
        ",
        transaction_id,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let header = Header {
        transaction_time: row.transaction_time,
        cashier_id: stored("cashier_id", CashierId::parse(row.cashier_id))?,
        store_id: stored("store_id", StoreId::parse(row.store_id))?,
        payment_method: stored("payment_method", PaymentMethod::parse(row.payment_method))?,
        customer_id: row.customer_id.map(|id| stored("customer_id", CustomerId::parse(id))).transpose()?,
    };
    let totals = Totals {
        amount: stored("total_amount", Amount::parse(row.total_amount))?,
        discount: stored("total_discount", Amount::parse(row.total_discount))?,
    };
    let items = item::of_sale(connection, transaction_id).await?;
    let (created_at, updated_at, version) = (row.created_at, row.updated_at, row.version);
    Ok(Some(Sale { transaction_id, header, items, totals, created_at, updated_at, version }))
}

/// Adds the header of a new sale. Comes before its items, also in the WAL.
pub async fn insert(connection: &mut PgConnection, sale: &Sale) -> Result<(), StoreError> {
    sqlx::query!(
        "
        insert into sales.sales_transaction (
            transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
            customer_id, created_at, updated_at, version
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ",
        sale.transaction_id,
        sale.header.transaction_time,
        sale.header.cashier_id.get(),
        sale.header.store_id.get(),
        sale.header.payment_method.as_str(),
        sale.totals.amount.get(),
        sale.totals.discount.get(),
        sale.header.customer_id.map(CustomerId::get),
        sale.created_at,
        sale.updated_at,
        sale.version,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the header of a sale that this transaction has locked.
pub async fn update(connection: &mut PgConnection, sale: &Sale) -> Result<(), StoreError> {
    sqlx::query!(
        "
        update sales.sales_transaction
        set transaction_time = $2,
            cashier_id = $3,
            store_id = $4,
            payment_method = $5,
            total_amount = $6,
            total_discount = $7,
            customer_id = $8,
            updated_at = $9,
            version = $10
        where transaction_id = $1
        ",
        sale.transaction_id,
        sale.header.transaction_time,
        sale.header.cashier_id.get(),
        sale.header.store_id.get(),
        sale.header.payment_method.as_str(),
        sale.totals.amount.get(),
        sale.totals.discount.get(),
        sale.header.customer_id.map(CustomerId::get),
        sale.updated_at,
        sale.version,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes a sale that this transaction has locked; its items go with it.
pub async fn delete(connection: &mut PgConnection, transaction_id: Uuid) -> Result<(), StoreError> {
    sqlx::query!("delete from sales.sales_transaction where transaction_id = $1", transaction_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// A stored value; one that breaks a rule was written past this service.
pub fn stored<T>(column: &str, value: Result<T, Fault>) -> Result<T, StoreError> {
    value.map_err(|fault| StoreError::StoredSaleInvalid(Violation::new(column, fault)))
}
