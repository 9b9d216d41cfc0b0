//! What can be wrong with a question.

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
    /// A payment method that is no code.
    #[error("must be a code of at most 50 lowercase letters, digits and underscores that begins with a letter")]
    NotACode,
    /// A timestamp that names no moment.
    #[error("must be a valid timestamp: years 1 to 9999, nanos 0 to 999,999,999")]
    MalformedTime,
    /// A range that ends before it begins.
    #[error("must be after start_time")]
    EmptyRange,
    /// A series of too many points.
    #[error("must be short enough for at most {max} points")]
    TooManyPoints {
        /// Allowed.
        max: i64,
    },
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
            Self::NotACode => "NOT_A_CODE",
            Self::MalformedTime => "MALFORMED_TIME",
            Self::EmptyRange => "EMPTY_RANGE",
            Self::TooManyPoints { .. } => "TOO_MANY_POINTS",
            Self::UnknownValue { .. } => "UNKNOWN_VALUE",
            Self::NotAPageToken => "NOT_A_PAGE_TOKEN",
            Self::OtherQuestion => "PAGE_TOKEN_OF_ANOTHER_QUESTION",
            Self::NotAToken => "NOT_A_CONSISTENCY_TOKEN",
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
