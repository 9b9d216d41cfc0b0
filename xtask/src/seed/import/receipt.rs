//! The service's receipt, compared with what was sent.

use std::fmt::Write as _;

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use tandem_proto::sales::command::v1::ImportReceipt;

use super::super::grpc::money;
use super::batches::Summary;

/// What the service says of a whole import, and we agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The import's name.
    pub import_id: String,
    /// A position of the primary's WAL behind it.
    pub lsn: String,
    /// For reads that must see all of it.
    pub consistency_token: String,
    /// Over the content of all rows, in hexadecimal digits.
    pub content_hash: String,
}

impl Receipt {
    /// Compares rows, items, sums and hash.
    ///
    /// # Errors
    ///
    /// One differs.
    pub fn check(receipt: &ImportReceipt, import_id: &str, sent: &Summary, currency: &str) -> anyhow::Result<Receipt> {
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let amount = money(sent.share.revenue, currency);
        let discount = money(sent.discount, currency);
        let agreements = [
            ("import id", receipt.import_id == import_id),
            ("number of sales", count(receipt.rows_written) == sent.share.sales && receipt.rows_refused == 0),
            ("number of items", count(receipt.items_written) == sent.share.items),
            ("sum of totals", receipt.total_amount.as_ref() == Some(&amount)),
            ("sum of discounts", receipt.total_discount.as_ref() == Some(&discount)),
            ("content hash", receipt.content_hash == sent.content_hash),
        ];
        for (what, agrees) in agreements {
            ensure!(agrees, "the receipt has another {what} than was sent: {receipt:?}");
        }
        let mut content_hash = String::new();
        for byte in &receipt.content_hash {
            write!(content_hash, "{byte:02x}")?;
        }
        Ok(Receipt {
            import_id: receipt.import_id.clone(),
            lsn: receipt.lsn.clone(),
            consistency_token: receipt.consistency_token.clone(),
            content_hash,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::progress::Share;
    use rust_decimal::Decimal;

    fn sent() -> Summary {
        let share = Share { sales: 2, items: 5, revenue: Decimal::new(1_250, 2) };
        Summary { share, discount: Decimal::new(75, 2), content_hash: [7; 32] }
    }

    fn right() -> ImportReceipt {
        ImportReceipt {
            import_id: "one".to_owned(),
            rows_written: 2,
            items_written: 5,
            total_amount: Some(money(Decimal::new(1_250, 2), "USD")),
            total_discount: Some(money(Decimal::new(75, 2), "USD")),
            content_hash: vec![7; 32],
            lsn: "0/1".to_owned(),
            ..ImportReceipt::default()
        }
    }

    #[test]
    fn a_receipt_that_agrees_is_kept_and_any_difference_is_told() {
        let check = |receipt: ImportReceipt| Receipt::check(&receipt, "one", &sent(), "USD");
        assert_eq!(check(right()).unwrap().content_hash, "07".repeat(32));
        let wrong = [
            (ImportReceipt { import_id: "other".to_owned(), ..right() }, "import id"),
            (ImportReceipt { rows_written: 3, ..right() }, "number of sales"),
            (ImportReceipt { rows_refused: 1, ..right() }, "number of sales"),
            (ImportReceipt { items_written: 4, ..right() }, "number of items"),
            (ImportReceipt { total_amount: None, ..right() }, "sum of totals"),
            (ImportReceipt { total_discount: None, ..right() }, "sum of discounts"),
            (ImportReceipt { content_hash: vec![8; 32], ..right() }, "content hash"),
        ];
        for (receipt, what) in wrong {
            let error = check(receipt).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
