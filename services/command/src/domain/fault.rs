//! What can be wrong with a value.

use rust_decimal::Decimal;

/// Why a value is refused. The text is for people; [`Fault::reason`] is stable and for programs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A required value is absent.
    #[error("is required")]
    Missing,
    /// A text that may not be empty is.
    #[error("must not be empty")]
    Empty,
    /// More characters than allowed.
    #[error("must have at most {max} characters, has {actual}")]
    TooLong {
        /// Allowed.
        max: usize,
        /// Found.
        actual: usize,
    },
    /// A NUL character, which PostgreSQL can't store.
    #[error("must not contain the character NUL")]
    ContainsNul,
    /// A payment method that is no code.
    #[error(
        "must be a code of lowercase letters, digits and underscores that begins with a letter, such as credit_card"
    )]
    NotACode,
    /// Not a UUID.
    #[error("must be a UUID such as 01935c3e-7d2a-7c4b-9d6e-0123456789ab")]
    NotAUuid,
    /// A whole number out of range.
    #[error("must be between {min} and {max}, is {actual}")]
    OutOfRange {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
        /// Found.
        actual: i64,
    },
    /// More items than allowed.
    #[error("must have at most {max} items, has {actual}")]
    TooManyItems {
        /// Allowed.
        max: usize,
        /// Found.
        actual: usize,
    },
    /// A sale without items.
    #[error("must have at least one item")]
    NoItems,
    /// A batch of no sales.
    #[error("must have at least one sale")]
    NoSales,
    /// More sales than allowed.
    #[error("must have at most {max} sales, has {actual}; import more than that")]
    TooManySales {
        /// Allowed.
        max: usize,
        /// Found.
        actual: usize,
    },
    /// Units and nanos disagree, or nanos are out of range.
    #[error("must have nanos between -999,999,999 and 999,999,999, of the same sign as units")]
    MalformedMoney,
    /// Below zero.
    #[error("must not be negative")]
    Negative,
    /// Fractions of a cent.
    #[error("must have at most two decimals")]
    TooManyDecimals,
    /// More than the column holds.
    #[error("must be at most {max}")]
    TooLarge {
        /// Allowed.
        max: Decimal,
    },
    /// Not the currency of this deployment.
    #[error("must be in {expected}, the currency of this deployment")]
    WrongCurrency {
        /// This deployment's.
        expected: String,
    },
    /// A discount of more than the line is worth.
    #[error("must not be more than quantity * unit_price, which is {gross}")]
    DiscountAboveLine {
        /// quantity * unit_price.
        gross: Decimal,
    },
    /// The caller expected another figure.
    #[error("disagrees with the items, which make {computed}; leave it out or correct it")]
    Disagrees {
        /// What the server computed.
        computed: Decimal,
    },
    /// A timestamp that names no moment.
    #[error("must be a valid timestamp: years 1 to 9999, nanos 0 to 999,999,999")]
    MalformedTime,
    /// Further in the future than clocks may be off.
    #[error("must not be more than a day in the future")]
    InTheFuture,
    /// Before the year 2000.
    #[error("must not be before the year 2000")]
    TooOld,
    /// A field mask that names something else.
    #[error("names {path:?}; it may name {allowed}")]
    UnknownPath {
        /// Found.
        path: String,
        /// Known ones, separated by commas.
        allowed: String,
    },
    /// An update of nothing.
    #[error("must name a field that can be set, or one must be set: nothing would change (totals are computed)")]
    NothingToChange,
    /// An etag that this service never gives out.
    #[error("is no etag of this service; send one as it was received, or leave it out")]
    NotAnEtag,
    /// The database's own check refused the value.
    #[error("was refused by the database's check of this field")]
    RefusedByDatabase,
}

impl Fault {
    /// Stable, upper case: travels in the ErrorInfo's metadata beside the field.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "REQUIRED",
            Self::Empty => "EMPTY",
            Self::TooLong { .. } => "TOO_LONG",
            Self::ContainsNul => "CONTAINS_NUL",
            Self::NotACode => "NOT_A_CODE",
            Self::NotAUuid => "NOT_A_UUID",
            Self::OutOfRange { .. } => "OUT_OF_RANGE",
            Self::TooManyItems { .. } => "TOO_MANY_ITEMS",
            Self::NoItems => "NO_ITEMS",
            Self::NoSales => "NO_SALES",
            Self::TooManySales { .. } => "TOO_MANY_SALES",
            Self::MalformedMoney => "MALFORMED_MONEY",
            Self::Negative => "NEGATIVE",
            Self::TooManyDecimals => "TOO_MANY_DECIMALS",
            Self::TooLarge { .. } => "TOO_LARGE",
            Self::WrongCurrency { .. } => "WRONG_CURRENCY",
            Self::DiscountAboveLine { .. } => "DISCOUNT_ABOVE_LINE",
            Self::Disagrees { .. } => "DISAGREES",
            Self::MalformedTime => "MALFORMED_TIME",
            Self::InTheFuture => "IN_THE_FUTURE",
            Self::TooOld => "TOO_OLD",
            Self::UnknownPath { .. } => "UNKNOWN_PATH",
            Self::NothingToChange => "NOTHING_TO_CHANGE",
            Self::NotAnEtag => "NOT_AN_ETAG",
            Self::RefusedByDatabase => "REFUSED_BY_DATABASE",
        }
    }
}

/// Where a sale stands in the requests that hold one.
const SALE: &str = "transaction.";

/// A fault and the field that has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Path in the request, as the contract writes it: `transaction.items[2].quantity`.
    pub field: String,
    /// What is wrong there.
    pub fault: Fault,
}

impl Violation {
    /// A fault at a field.
    pub fn new(field: impl Into<String>, fault: Fault) -> Self {
        Self { field: field.into(), fault }
    }

    /// The same fault, seen from the sale that it is in: `items[2].quantity`.
    #[must_use]
    pub fn in_sale(self) -> Self {
        match self.field.strip_prefix(SALE) {
            Some(field) => Self { field: field.to_owned(), ..self },
            None => self,
        }
    }

    /// The same fault in a sale of a batch: `transactions[17].items[2].quantity`.
    #[must_use]
    pub fn in_batch(self, index: usize) -> Self {
        let Self { field, fault } = self.in_sale();
        Self { field: format!("transactions[{index}].{field}"), fault }
    }
}
