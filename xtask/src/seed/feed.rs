//! A batch as CSV feed files: what it has written, as the primary has it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use futures::TryStreamExt;
use sqlx::PgConnection;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use super::batch::Batches;

/// Each table of a sale, with its columns and the order of its rows.
const TABLES: [(&str, &str, &str); 2] = [
    (
        "sales_transaction",
        "transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, created_at, updated_at, version",
        "transaction_id",
    ),
    (
        "sales_item",
        "item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price",
        "transaction_id, item_id",
    ),
];

/// Writes `ID.sales_transaction.csv` and `ID.sales_item.csv` into a directory, which is made where it is missing. A file
/// is there as a whole or not at all; one of the same name is replaced.
pub(super) async fn write(batches: &mut Batches, directory: &Path) -> anyhow::Result<Vec<String>> {
    fs::create_dir_all(directory).await.with_context(|| format!("{} can't be made", directory.display()))?;
    let (connection, batch_id) = batches.connection();
    let mut files = Vec::new();
    for (table, columns, order) in TABLES {
        // The id has no character that SQL or a path would read otherwise.
        let rows = format!(
            "copy (
                select {columns} from sales.{table}
                where transaction_id in (
                    select unnest(transaction_ids) from tandem.batch_part where batch_id = '{batch_id}'
                )
                order by {order}
            ) to stdout with (format csv, header)"
        );
        let file = directory.join(format!("{batch_id}.{table}.csv"));
        write_file(connection, &rows, &file).await.with_context(|| format!("{} can't be written", file.display()))?;
        files.push(file.display().to_string());
    }
    Ok(files)
}

async fn write_file(connection: &mut PgConnection, rows: &str, path: &Path) -> anyhow::Result<()> {
    let unfinished: PathBuf = path.with_extension("csv.part");
    let mut file = File::create(&unfinished).await?;
    let mut copied = connection.copy_out_raw(rows).await?;
    while let Some(bytes) = copied.try_next().await? {
        file.write_all(&bytes).await?;
    }
    drop(copied);
    file.sync_all().await?;
    Ok(fs::rename(&unfinished, path).await?)
}
