//! What products are called.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::fold::{Horizon, MAX_CHANGED};
use crate::domain::Label;

struct Row {
    product_code: String,
    product_name: String,
    category: Option<String>,
}

impl Row {
    fn labelled(self) -> (String, Label) {
        (self.product_code, Label { product_name: self.product_name, category: self.category })
    }
}

/// The labels of these products, by their codes. A product without any sale has none.
///
/// The rollups know each product's newest sale; where that has changed since, all sales of the product are looked through.
pub async fn of(
    connection: &mut PgConnection,
    product_codes: &[String],
) -> Result<HashMap<String, Label>, sqlx::Error> {
    let changed = match Horizon::current(&mut *connection).await? {
        Some(horizon) => horizon.changed(&mut *connection, MAX_CHANGED).await?,
        None => None,
    };
    let mut labels: HashMap<_, _> = match changed {
        Some(changed) => {
            known(&mut *connection, product_codes, &changed).await?.into_iter().map(Row::labelled).collect()
        }
        None => HashMap::new(),
    };
    let unknown: Vec<_> = product_codes.iter().filter(|code| !labels.contains_key(*code)).cloned().collect();
    if !unknown.is_empty() {
        labels.extend(searched(connection, &unknown).await?.into_iter().map(Row::labelled));
    }
    Ok(labels)
}

async fn known(
    connection: &mut PgConnection,
    product_codes: &[String],
    changed: &[Uuid],
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_file_as!(Row, "src/store/product_labels_held.sql", product_codes, changed).fetch_all(connection).await
}

async fn searched(connection: &mut PgConnection, product_codes: &[String]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_file_as!(Row, "src/store/product_labels.sql", product_codes).fetch_all(connection).await
}
