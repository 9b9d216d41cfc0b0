//! What an import's messages hold.

use tandem_proto::{
    money::Currency,
    sales::{command::v1::ImportStart, v1::SalesTransaction},
};

use super::{reader::Reader, sale::new_sale};
use crate::{
    domain::{Fault, NewSale, Violation},
    import::Start,
};

/// Which import a stream begins or resumes.
pub fn import_start(start: &ImportStart, currency: &Currency) -> Result<Start, Vec<Violation>> {
    let mut reader = Reader::new(currency);
    let import_id = reader.uuid("start.import_id", &start.import_id);
    let acknowledged = start.acknowledged_row_number;
    if acknowledged < 0 {
        reader.wrong("start.acknowledged_row_number", Fault::Negative);
    }
    let all_or_nothing = start.all_or_nothing;
    reader.finish(import_id.map(|import_id| Start { import_id, all_or_nothing, acknowledged }))
}

/// A row: a whole new sale. Violations name its fields as CreateTransaction does.
pub fn import_row(sale: SalesTransaction, currency: &Currency) -> Result<NewSale, Vec<Violation>> {
    let mut reader = Reader::new(currency);
    let sale = new_sale(&mut reader, sale);
    reader.finish(sale)
}
