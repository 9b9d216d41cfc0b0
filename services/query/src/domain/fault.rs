//! What can be wrong with a question.

use std::time::Duration;

/// Why a value is refused. The text is for people; [`Fault::reason`] is stable and for programs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A required value is absent.
    #[error("is required")]
    Missing,
    /// Not a UUID.
    #[error("must be a UUID such as 01935c3e-7d2a-7c4b-9d6e-0123456789ab")]
    NotAUuid,
    /// A number below what makes sense.
    #[error("must be at least {min}, is {actual}")]
    TooSmall {
        /// Smallest allowed.
        min: i32,
        /// Found.
        actual: i32,
    },
    /// More values than allowed.
    #[error("must have at most {max} values, has {actual}")]
    TooMany {
        /// Allowed.
        max: usize,
        /// Found.
        actual: usize,
    },
    /// An id that no batch can have.
    #[error("must have at most 100 letters, digits and . _ : - and begin with a letter or digit")]
    NotABatchId,
    /// A payment method that is no code.
    #[error("must be a code of at most 50 lowercase letters, digits and underscores that begins with a letter")]
    NotACode,
    /// A timestamp that names no moment.
    #[error("must be a valid timestamp: years 1 to 9998, nanos 0 to 999,999,999")]
    MalformedTime,
    /// Not a day of the calendar.
    #[error("must be a day of the calendar such as 2026-03-01, years 1 to 9998")]
    NotADate,
    /// A name that the time zone database does not have.
    #[error("must be a name of the IANA time zone database such as Asia/Kolkata")]
    UnknownTimeZone,
    /// A range by times and by dates at once.
    #[error("must have times or dates, not both")]
    TimesAndDates,
    /// A range that ends before it begins.
    #[error("must lie behind the beginning of the range")]
    EmptyRange,
    /// A range of too many days.
    #[error("must be no longer than {max} days")]
    RangeTooLong {
        /// Allowed.
        max: i64,
    },
    /// A series of too many points.
    #[error("must be short enough for at most {max} steps; ask for a shorter range or for longer steps")]
    TooManyPoints {
        /// Allowed.
        max: usize,
    },
    /// Not what this question can be grouped by.
    #[error("must be the store, cashier, category or payment method here")]
    UnsupportedDimension,
    /// An empty text.
    #[error("must not be empty")]
    Empty,
    /// A text of more characters than allowed.
    #[error("must have at most {max} characters, has {actual}")]
    TooLong {
        /// Allowed.
        max: usize,
        /// Found.
        actual: usize,
    },
    /// A text that no stored one can be equal to.
    #[error("must not contain the character NUL")]
    ContainsNul,
    /// Money of another currency.
    #[error("must be in {expected}")]
    WrongCurrency {
        /// The currency of the deployment.
        expected: String,
    },
    /// Money whose parts disagree.
    #[error("must have nanos from -999,999,999 to 999,999,999 of the same sign as units")]
    MalformedMoney,
    /// Money that is not made of cents.
    #[error("must have at most two decimals")]
    TooManyDecimals,
    /// Money below zero.
    #[error("must not be negative")]
    Negative,
    /// More money than a sale can come to.
    #[error("must be at most 9,999,999,999.99")]
    TooLarge,
    /// A greatest amount below the smallest.
    #[error("must be at least min_total_amount")]
    EmptyAmounts,
    /// A number that names no value of an enumeration.
    #[error("has no value with the number {actual}")]
    UnknownValue {
        /// Found.
        actual: i32,
    },
    /// Not a page token of this service.
    #[error("is no page token of this service; send next_page_token as it was received")]
    NotAPageToken,
    /// A page token of another question.
    #[error("belongs to another range or filter; begin again without it")]
    OtherQuestion,
    /// Not a consistency token of this service.
    #[error("is no consistency token of this service; send it as it was received")]
    NotAToken,
    /// Not a resume token of a watch.
    #[error("is no resume token of this service; send resume_token as it was received")]
    NotAWatchToken,
    /// A duration that is shorter or longer than allowed.
    #[error("must be from {} to {} seconds", least.as_secs(), most.as_secs())]
    DurationOutOfRange {
        /// Shortest allowed.
        least: Duration,
        /// Longest allowed.
        most: Duration,
    },
    /// A duration below zero or out of range.
    #[error("must be a duration from 0 to 315,576,000,000 seconds")]
    MalformedDuration,
    /// A staleness that no replica has.
    #[error("must be longer than zero; ask for strong instead")]
    NoStaleness,
    /// `strong: false`.
    #[error("must be true where it is given; leave it out for any freshness")]
    NotTrue,
}

impl Fault {
    /// Stable, upper case: travels in the ErrorInfo's metadata beside the field.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "REQUIRED",
            Self::NotAUuid => "NOT_A_UUID",
            Self::TooSmall { .. } => "OUT_OF_RANGE",
            Self::TooMany { .. } => "TOO_MANY_VALUES",
            Self::NotABatchId => "NOT_A_BATCH_ID",
            Self::NotACode => "NOT_A_CODE",
            Self::MalformedTime => "MALFORMED_TIME",
            Self::NotADate => "NOT_A_DATE",
            Self::UnknownTimeZone => "UNKNOWN_TIME_ZONE",
            Self::TimesAndDates => "TIMES_AND_DATES",
            Self::EmptyRange | Self::EmptyAmounts => "EMPTY_RANGE",
            Self::RangeTooLong { .. } => "RANGE_TOO_LONG",
            Self::UnsupportedDimension => "UNSUPPORTED_DIMENSION",
            Self::Empty => "EMPTY",
            Self::TooLong { .. } => "TOO_LONG",
            Self::ContainsNul => "CONTAINS_NUL",
            Self::WrongCurrency { .. } => "WRONG_CURRENCY",
            Self::MalformedMoney => "MALFORMED_MONEY",
            Self::TooManyDecimals => "TOO_MANY_DECIMALS",
            Self::Negative => "NEGATIVE",
            Self::TooLarge => "TOO_LARGE",
            Self::TooManyPoints { .. } => "TOO_MANY_POINTS",
            Self::UnknownValue { .. } => "UNKNOWN_VALUE",
            Self::NotAPageToken => "NOT_A_PAGE_TOKEN",
            Self::OtherQuestion => "PAGE_TOKEN_OF_ANOTHER_QUESTION",
            Self::NotAToken => "NOT_A_CONSISTENCY_TOKEN",
            Self::NotAWatchToken => "NOT_A_RESUME_TOKEN",
            Self::DurationOutOfRange { .. } => "OUT_OF_RANGE",
            Self::MalformedDuration => "MALFORMED_DURATION",
            Self::NoStaleness => "NOT_POSITIVE",
            Self::NotTrue => "NOT_TRUE",
        }
    }
}

/// A fault and the field that has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Path in the request, as the contract writes it.
    pub field: String,
    /// What is wrong there.
    pub fault: Fault,
}
