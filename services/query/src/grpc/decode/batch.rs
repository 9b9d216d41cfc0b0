//! Questions about batches: one function for each RPC.

use tandem_proto::sales::query::v1::{GetBatchRequest, ListBatchesRequest, WaitForBatchRequest};

use super::reader::{Decoded, Reader};
use crate::domain::{
    BatchCursor, BatchId, BatchPage, Consistency,
    limits::{DEFAULT_BATCHES, MAX_BATCHES},
};

pub fn list_batches(message: ListBatchesRequest) -> Decoded<(BatchPage, Consistency)> {
    let mut reader = Reader::new();
    let size = reader.count("page_size", message.page_size, DEFAULT_BATCHES, MAX_BATCHES);
    let after = match message.page_token.as_str() {
        "" => Some(None),
        token => reader.check("page_token", token.parse::<BatchCursor>()).map(Some),
    };
    let consistency = reader.consistency(message.consistency);
    let page = size.zip(after).map(|(size, after)| BatchPage { size, after });
    reader.finish(page.zip(consistency))
}

pub fn get_batch(message: GetBatchRequest) -> Decoded<(BatchId, Consistency)> {
    let mut reader = Reader::new();
    let batch_id = reader.check("batch_id", message.batch_id.parse());
    let consistency = reader.consistency(message.consistency);
    reader.finish(batch_id.zip(consistency))
}

pub fn wait_for_batch(message: WaitForBatchRequest) -> Decoded<BatchId> {
    let mut reader = Reader::new();
    let batch_id = reader.check("batch_id", message.batch_id.parse());
    reader.finish(batch_id)
}
