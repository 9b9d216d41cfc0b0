//! Every limit of a question.

/// Sales on a page when the caller does not say.
pub const DEFAULT_PAGE_SIZE: i32 = 20;
/// Sales on a page at most; a caller who asks for more gets this many (AIP-158).
pub const MAX_PAGE_SIZE: i32 = 100;
/// Items on a page at most, all its sales together; the first sale is on it in any case. An item whose texts are as long
/// as they may be, in characters of four bytes, takes 1.5 kB on the wire: so many of them, with the headers of a hundred
/// sales, stay below the 4 MiB that clients take by default.
pub const MAX_PAGE_ITEMS: i64 = 2_500;
/// Products in a ranking when the caller does not say.
pub const DEFAULT_PRODUCTS: i32 = 10;
/// Products in a ranking at most; a caller who asks for more gets this many.
pub const MAX_PRODUCTS: i32 = 100;
/// Values in one list of a filter: each is compared with each sale.
pub const MAX_FILTER_VALUES: usize = 100;
/// Characters of a payment method.
pub const MAX_PAYMENT_METHOD: usize = 50;
/// Points of a series: ten years of days.
pub const MAX_POINTS: i64 = 3_660;
/// Characters of a page token that are looked at: real ones have 62.
pub const MAX_PAGE_TOKEN: usize = 200;
/// Days that a question without a range looks back.
pub const DEFAULT_DAYS: i64 = 30;
