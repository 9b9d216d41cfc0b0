//! Sales as messages of about a megabyte, made on a thread of their own.

use prost::Message;
use prost::bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::Plan;
use super::super::grpc::message;
use super::super::progress::Share;

/// A message is sent once it has so many bytes: large enough that its own cost is nothing beside that of its rows,
/// and a quarter of what services take by default.
const MESSAGE_BYTES: usize = 1 << 20;

/// Messages between the generator and the stream: one under way keeps both busy.
const AHEAD: usize = 2;

/// Numbers of fields in the contract: `rows` of the request, `first_row_number` and `transactions` of the rows.
const ROWS: u32 = 2;
const FIRST_ROW_NUMBER: u32 = 1;
const TRANSACTIONS: u32 = 2;

/// Some rows of an import.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The encoded request.
    pub message: Bytes,
    /// The number of its first row, from 1.
    pub first: i64,
    /// What each row adds.
    pub rows: Vec<Share>,
}

/// What all rows together are.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How many, with their items and totals.
    pub share: Share,
    /// The sum of their discounts.
    pub discount: Decimal,
    /// Over their content, as the contract defines it.
    pub content_hash: [u8; 32],
}

/// Batches in the making.
#[derive(Debug)]
pub struct Batches {
    /// In the order of their rows.
    pub made: mpsc::Receiver<Batch>,
    /// Known when the last was taken.
    pub summary: JoinHandle<Summary>,
}

impl Batches {
    /// Makes those of a plan, as fast as they are taken.
    pub fn make(plan: &Plan) -> Batches {
        let (to, made) = mpsc::channel(AHEAD);
        let plan = plan.clone();
        let summary = tokio::task::spawn_blocking(move || {
            let mut making = Making::new();
            for sale in plan.sales() {
                making.add(&message(&sale, &plan.currency), Share::from(&sale), sale.total_discount());
                if making.bytes.len() >= MESSAGE_BYTES && to.blocking_send(making.take()).is_err() {
                    return making.summary;
                }
            }
            if !making.rows.is_empty() {
                // Whoever has gone wants no more.
                let _gone = to.blocking_send(making.take());
            }
            making.summary
        });
        Batches { made, summary }
    }
}

/// A batch in the making.
struct Making {
    /// Fields `transactions`, one a row.
    bytes: Vec<u8>,
    rows: Vec<Share>,
    first: i64,
    summary: Summary,
}

impl Making {
    fn new() -> Making {
        let summary = Summary { share: Share::default(), discount: Decimal::new(0, 2), content_hash: [0; 32] };
        Making { bytes: Vec::new(), rows: Vec::new(), first: 1, summary }
    }

    /// Encoded by prost, which writes fields in the order of their numbers and leaves defaults out.
    fn add(&mut self, sale: &impl Message, share: Share, discount: Decimal) {
        encode_key(TRANSACTIONS, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(sale.encoded_len() as u64, &mut self.bytes);
        let begin = self.bytes.len();
        sale.encode_raw(&mut self.bytes);
        let Summary { content_hash, discount: discounts, share: all } = &mut self.summary;
        *content_hash = Sha256::new().chain_update(*content_hash).chain_update(&self.bytes[begin..]).finalize().into();
        *discounts += discount;
        all.add(share);
        self.rows.push(share);
    }

    fn take(&mut self) -> Batch {
        let first = self.first;
        let number = first.unsigned_abs();
        let inner = key_len(FIRST_ROW_NUMBER) + encoded_len_varint(number) + self.bytes.len();
        let mut message = Vec::with_capacity(inner + 16);
        encode_key(ROWS, WireType::LengthDelimited, &mut message);
        encode_varint(inner as u64, &mut message);
        encode_key(FIRST_ROW_NUMBER, WireType::Varint, &mut message);
        encode_varint(number, &mut message);
        message.append(&mut self.bytes);
        let rows = std::mem::take(&mut self.rows);
        self.first += i64::try_from(rows.len()).expect("a message has few rows");
        Batch { message: message.into(), first, rows }
    }
}

#[cfg(test)]
mod tests {
    use tandem_proto::sales::command::v1::ImportTransactionsRequest;
    use tandem_proto::sales::command::v1::import_transactions_request::Message as Sent;

    use super::*;

    #[tokio::test]
    async fn batches_are_requests_of_the_contract_with_all_rows_in_their_order() {
        let plan = Plan::new(6_000);
        let mut batches = Batches::make(&plan);
        let (mut rows, mut expected_first) = (Vec::new(), 1);
        while let Some(batch) = batches.made.recv().await {
            let request = ImportTransactionsRequest::decode(batch.message.clone()).unwrap();
            let Some(Sent::Rows(sent)) = request.message else { panic!("not rows") };
            assert_eq!((sent.first_row_number, sent.transactions.len()), (expected_first, batch.rows.len()));
            assert_eq!(batch.first, expected_first);
            assert!(batch.message.len() < 2 * MESSAGE_BYTES);
            expected_first += i64::try_from(batch.rows.len()).unwrap();
            rows.extend(sent.transactions);
        }
        let expected: Vec<_> = plan.sales().map(|sale| message(&sale, &plan.currency)).collect();
        assert!(rows == expected, "the rows are those of the plan");
        let mut hash = [0_u8; 32];
        for row in &rows {
            hash = Sha256::digest([hash.as_slice(), &row.encode_to_vec()].concat()).into();
        }
        let summary = batches.summary.await.unwrap();
        assert_eq!((summary.content_hash, summary.share.sales), (hash, 6_000));
        assert_eq!(summary.discount, plan.sales().map(|sale| sale.total_discount()).sum::<Decimal>());
    }
}
