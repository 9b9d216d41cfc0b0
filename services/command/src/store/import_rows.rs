//! Rows of an import as PostgreSQL's binary COPY takes them, made while the rows before them are written.

use std::ops::Range;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{Encode, PgConnection, Postgres, encode::IsNull, postgres::PgArgumentBuffer};
use uuid::Uuid;

use super::error::StoreError;
use crate::domain::{
    NewSale,
    identity::CustomerId,
    import::{ContentHash, Refusal},
};

/// What a binary COPY begins with: signature, flags, length of the header's extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with: a row of -1 columns.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Bytes that are handed to the driver at once. It copies them, so the whole chunk would be in memory twice.
const PIECE: usize = 128 * 1024;
/// Columns of [`COPY_SALES`].
const SALE_COLUMNS: i16 = 11;
/// Columns of [`COPY_ITEMS`].
const ITEM_COLUMNS: i16 = 9;
const COPY_SALES: &str = "
    copy sales.sales_transaction (
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, created_at, updated_at, version
    ) from stdin with (format binary)
";
const COPY_ITEMS: &str = "
    copy sales.sales_item (
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
    ) from stdin with (format binary)
";

/// Consecutive rows of an import, those that are valid in themselves encoded, the others refused.
pub struct ImportChunk {
    /// The last of the rows.
    pub last_row_number: i64,
    /// Over all rows of the import up to it.
    pub content_hash: ContentHash,
    /// Rows that are wrong in themselves.
    pub refused: Vec<Refusal>,
    /// Rows that the caller has sent once more, in this stream up to here.
    pub rows_skipped: i64,
    now: DateTime<Utc>,
    sales: PgArgumentBuffer,
    items: PgArgumentBuffer,
    rows: Vec<Row>,
}

/// An encoded row.
struct Row {
    number: i64,
    transaction_id: Uuid,
    /// Where it ends in the sales and in the items; it begins where the row before it ends.
    sales_end: usize,
    items_end: usize,
    items: i64,
    total_amount: Decimal,
    total_discount: Decimal,
}

/// Room for encoded rows, in bytes and numbers.
#[derive(Clone, Copy, Default)]
pub struct Room {
    sales: usize,
    items: usize,
    rows: usize,
}

/// Sums over encoded rows.
#[derive(Default)]
pub struct Sums {
    pub rows: i64,
    pub items: i64,
    pub total_amount: Decimal,
    pub total_discount: Decimal,
}

impl ImportChunk {
    /// No rows yet; those to come are stored as of `now`.
    pub fn new(last_row_number: i64, content_hash: ContentHash, now: DateTime<Utc>, room: Room) -> Self {
        let (mut sales, mut items) = (PgArgumentBuffer::default(), PgArgumentBuffer::default());
        sales.reserve(room.sales);
        items.reserve(room.items);
        let (refused, rows) = (Vec::new(), Vec::with_capacity(room.rows));
        Self { last_row_number, content_hash, refused, rows_skipped: 0, now, sales, items, rows }
    }

    /// The room that its rows take: a good guess at what the next chunk needs.
    pub fn room(&self) -> Room {
        Room { sales: self.sales.len(), items: self.items.len(), rows: self.rows.len() }
    }

    /// Bytes of the encoded rows.
    pub fn bytes(&self) -> usize {
        self.sales.len() + self.items.len()
    }

    /// How many rows are encoded.
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none is.
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Encodes a row.
    pub fn push(&mut self, number: i64, sale: &NewSale) -> Result<(), StoreError> {
        self.encode(number, sale).map_err(|error| sqlx::Error::Encode(error).into())
    }

    fn encode(&mut self, number: i64, sale: &NewSale) -> Result<(), sqlx::error::BoxDynError> {
        let (header, totals) = (sale.header(), sale.totals());
        let to = &mut self.sales;
        to.extend_from_slice(&SALE_COLUMNS.to_be_bytes());
        put(to, &sale.transaction_id())?;
        put(to, &header.transaction_time)?;
        put(to, &header.cashier_id.get())?;
        put(to, &header.store_id.get())?;
        put(to, &header.payment_method.as_str())?;
        put(to, &totals.amount.get())?;
        put(to, &totals.discount.get())?;
        put(to, &header.customer_id.map(CustomerId::get))?;
        put(to, &self.now)?;
        put(to, &self.now)?;
        put(to, &1_i64)?;
        let to = &mut self.items;
        for item in sale.items() {
            let parts = item.line.parts();
            to.extend_from_slice(&ITEM_COLUMNS.to_be_bytes());
            put(to, &item.item_id)?;
            put(to, &sale.transaction_id())?;
            put(to, &parts.product_code.as_str())?;
            put(to, &parts.product_name.as_str())?;
            put(to, &parts.category.as_ref().map(|category| category.as_str()))?;
            put(to, &parts.quantity.get())?;
            put(to, &parts.unit_price.get())?;
            put(to, &parts.discount.get())?;
            put(to, &item.line.total_price().get())?;
        }
        let items = i64::try_from(sale.items().len()).expect("a sale has a limited number of items");
        let (sales_end, items_end) = (self.sales.len(), self.items.len());
        let (total_amount, total_discount) = (totals.amount.get(), totals.discount.get());
        let transaction_id = sale.transaction_id();
        self.rows.push(Row { number, transaction_id, sales_end, items_end, items, total_amount, total_discount });
        Ok(())
    }

    /// The number of an encoded row.
    pub fn number(&self, place: usize) -> i64 {
        self.rows[place].number
    }

    /// Ids of the encoded rows, without some; these are in their order.
    pub fn ids_without(&self, refused: &[Refusal]) -> Vec<Uuid> {
        self.without(refused).map(|row| row.transaction_id).collect()
    }

    /// Sums over the encoded rows, without some; these are in their order.
    pub fn sums_without(&self, refused: &[Refusal]) -> Sums {
        self.without(refused).fold(Sums::default(), |sums, row| Sums {
            rows: sums.rows + 1,
            items: sums.items + row.items,
            total_amount: sums.total_amount + row.total_amount,
            total_discount: sums.total_discount + row.total_discount,
        })
    }

    fn without(&self, refused: &[Refusal]) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| refused.binary_search_by_key(&row.number, |refusal| refusal.row_number).is_err())
    }

    /// Writes encoded rows: sales before items, also in the WAL.
    pub async fn copy(&self, connection: &mut PgConnection, rows: Range<usize>) -> Result<(), sqlx::Error> {
        let ((sales_start, items_start), (sales_end, items_end)) =
            (self.ends_before(rows.start), self.ends_before(rows.end));
        copy(connection, COPY_SALES, &self.sales[sales_start..sales_end]).await?;
        copy(connection, COPY_ITEMS, &self.items[items_start..items_end]).await
    }

    /// Where the sales and the items of all rows before a place end.
    fn ends_before(&self, place: usize) -> (usize, usize) {
        place.checked_sub(1).map_or((0, 0), |last| (self.rows[last].sales_end, self.rows[last].items_end))
    }
}

/// A value with its length before it, as COPY has it.
fn put<'q, T: Encode<'q, Postgres>>(to: &mut PgArgumentBuffer, value: &T) -> Result<(), sqlx::error::BoxDynError> {
    let start = to.len();
    to.extend_from_slice(&[0; 4]);
    let length = match value.encode_by_ref(to)? {
        IsNull::Yes => -1,
        IsNull::No => i32::try_from(to.len() - start - 4)?,
    };
    to[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

async fn copy(connection: &mut PgConnection, statement: &str, rows: &[u8]) -> Result<(), sqlx::Error> {
    let mut copy = connection.copy_in_raw(statement).await?;
    copy.send(HEADER).await?;
    for piece in rows.chunks(PIECE) {
        copy.send(piece).await?;
    }
    copy.send(TRAILER.as_slice()).await?;
    copy.finish().await?;
    Ok(())
}
