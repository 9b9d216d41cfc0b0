//! What can go wrong with a command once it is valid in itself.

use tandem_chassis::database::DatabaseError;
use uuid::Uuid;

use crate::domain::{ChangeError, Fault, Violation};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such sale.
    #[error("no such sale")]
    SaleNotFound {
        /// Which one.
        transaction_id: Uuid,
    },
    /// The stored sale does not allow it.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The request id stands for another command.
    #[error("the request id was used for another command")]
    RequestIdReused {
        /// Which one.
        request_id: Uuid,
    },
    /// A constraint of the schema refused a value that the domain let pass.
    #[error("a constraint of the schema refused a value")]
    Refused(Violation),
    /// The database refused one sale of a batch, and with it the batch.
    #[error("sale {index} of the batch was refused")]
    InBatch {
        /// Which one, counted from 0.
        index: usize,
        /// Why.
        #[source]
        error: Box<StoreError>,
    },
    /// What is stored breaks a rule of the domain: somebody wrote it past this service.
    #[error("a stored sale breaks a rule: {field} {fault}", field = .0.field, fault = .0.fault)]
    StoredSaleInvalid(Violation),
    /// The first answer to a request id is there no more as it should be: somebody wrote past this service.
    #[error("the first answer to request id {request_id} is lost")]
    AnswerLost {
        /// Which one.
        request_id: Uuid,
    },
    /// The queue of commands is full.
    #[error("the queue of commands is full")]
    QueueFull,
    /// The deadline passed while the command waited in the queue.
    #[error("the deadline passed before the command's turn came")]
    DeadlinePassed,
    /// A stored answer can't be read back, or a new one not be stored.
    #[error("an answer can't be encoded or decoded")]
    Answer(#[source] serde_json::Error),
    /// The database did not do its part.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Why a batch of commands was not carried out: nothing of it is written, unless the error is
/// [`DatabaseError::OutcomeUnknown`].
#[derive(Debug, thiserror::Error)]
#[error("a batch of commands was not carried out")]
pub struct BatchError {
    /// What went wrong.
    #[source]
    pub error: StoreError,
    /// The place of the one command that it went wrong with, where the database said which one.
    pub culprit: Option<usize>,
}

impl<E: Into<StoreError>> From<E> for BatchError {
    fn from(error: E) -> Self {
        Self { error: error.into(), culprit: None }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let constraint = error.as_database_error().and_then(|error| error.constraint());
        match constraint.and_then(field_of) {
            Some(field) => Self::Refused(Violation::new(field, Fault::RefusedByDatabase)),
            None => Self::Database(error.into()),
        }
    }
}

/// The field that a named constraint guards.
fn field_of(constraint: &str) -> Option<&'static str> {
    Some(match constraint {
        "sales_transaction_cashier_id_check" => "transaction.cashier_id",
        "sales_transaction_store_id_check" => "transaction.store_id",
        "sales_transaction_payment_method_check" => "transaction.payment_method",
        "sales_transaction_total_amount_check" => "transaction.total_amount",
        "sales_transaction_total_discount_check" => "transaction.total_discount",
        "sales_transaction_customer_id_check" => "transaction.customer_id",
        "sales_item_product_code_check" => "item.product_code",
        "sales_item_product_name_check" => "item.product_name",
        "sales_item_category_check" => "item.category",
        "sales_item_quantity_check" => "item.quantity",
        "sales_item_unit_price_check" => "item.unit_price",
        "sales_item_discount_check" => "item.discount",
        "sales_item_total_price_check" => "item.total_price",
        _ => return None,
    })
}
