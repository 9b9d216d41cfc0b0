//! Compares some sales with their items.

use crate::course::Known;
use crate::differences;
use crate::error::CheckError;
use crate::fence::Touched;
use crate::pending::Pending;
use crate::phase::{Observe, Phase};
use crate::published::PublishedTable;
use crate::scan::Sides;
use crate::statement::Rows;
use futures::future::try_join;

/// Sales that are asked for at once.
const SALES_AT_ONCE: usize = 500;

/// The tables whose rows belong to a sale, by their numbers.
pub(crate) fn tables(tables: &[PublishedTable]) -> Result<Vec<usize>, CheckError> {
    let of_sale = |table: &PublishedTable| {
        table.columns.iter().any(|column| column.name == "transaction_id" && column.type_name == "uuid")
    };
    let numbers: Vec<usize> = (0..tables.len()).filter(|number| of_sale(&tables[*number])).collect();
    if numbers.is_empty() { Err(CheckError::NoSales) } else { Ok(numbers) }
}

/// Compares the rows of these sales one by one.
pub(crate) async fn read(
    sides: &mut Sides,
    tables: &[PublishedTable],
    wanted: &[usize],
    ids: &[String],
    touched: &Touched,
    observe: Observe<'_>,
) -> Result<Vec<Known>, CheckError> {
    let mut known: Vec<Known> = tables.iter().map(|_| Known::default()).collect();
    let of = wanted.len() * ids.len();
    let mut done = 0;
    for &number in wanted {
        let (mut rows, mut differing) = (0, Vec::new());
        let mut set_aside = std::collections::HashSet::new();
        for ids in ids.chunks(SALES_AT_ONCE) {
            let (primary, replica) = (sides.primary.first(), sides.replica.first());
            let table = &tables[number];
            let (primary, replica) =
                try_join(primary.hashes(table, Rows::OfSales(ids)), replica.hashes(table, Rows::OfSales(ids))).await?;
            rows += primary.len() as u64;
            // Of all rows that were touched, only those of these sales matter.
            let keys = primary.iter().chain(&replica).map(|(key, _)| key);
            set_aside.extend(keys.filter(|key| touched.of(number).contains(*key)).cloned());
            differing.extend(differences::between(primary, replica, touched.of(number)));
            done += ids.len();
            observe(&Phase::Reading { done: done as u64, of: of as u64 });
        }
        let pending = Pending::of(&set_aside, differing);
        known[number] = Known { read: true, rows, pending, ..Known::default() };
    }
    Ok(known)
}
