//! Requests into commands. Every wrong field is found, not only the first.

mod change;
mod import;
mod mask;
mod patch;
mod reader;
mod sale;

pub use self::change::{
    add_item, create_transaction, delete_item, delete_transaction, update_item, update_transaction,
};
pub use self::import::{import_row, import_start};
