//! Every limit of a question.

use std::time::Duration;

use rust_decimal::Decimal;

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
/// Characters of a category.
pub const MAX_CATEGORY: usize = 100;
/// Characters of a product code.
pub const MAX_PRODUCT_CODE: usize = 50;
/// Characters of a time zone's name that are looked at: the longest real one has 32.
pub const MAX_ZONE_NAME: usize = 64;
/// Days that figures are made of at most: ten years.
pub const MAX_RANGE_DAYS: i64 = 3_660;
/// Steps of a series: a year of hours. Each is looked up on its own.
pub const MAX_STEPS: usize = 9_000;
/// Series that an answer holds at most. A key takes up to 400 bytes on the wire.
pub const MAX_SERIES: usize = 1_000;
/// Points of all series together. One takes up to 77 bytes on the wire: so many, with the keys of all series, stay below
/// the 4 MiB that clients take by default.
pub const MAX_POINTS: usize = 45_000;
/// Groups of a breakdown when the caller does not say.
pub const DEFAULT_GROUPS: i32 = 100;
/// Groups of a breakdown at most; a caller who asks for more gets this many. A row takes up to 500 bytes on the wire.
pub const MAX_GROUPS: i32 = 1_000;
/// Stores on a page when the caller does not say.
pub const DEFAULT_STORES: i32 = 100;
/// Stores on a page at most; a caller who asks for more gets this many.
pub const MAX_STORES: i32 = 1_000;
/// Batches on a page when the caller does not say.
pub const DEFAULT_BATCHES: i32 = 20;
/// Batches on a page at most; a caller who asks for more gets this many.
pub const MAX_BATCHES: i32 = 100;
/// Characters of a batch's id, as the primary's table has it.
pub const MAX_BATCH_ID: usize = 100;
/// Characters of a page token that are looked at: real ones have up to 167.
pub const MAX_PAGE_TOKEN: usize = 200;
/// Characters of a watch's resume token that are looked at: real ones have 64.
pub const MAX_WATCH_TOKEN: usize = 200;
/// Between two messages of a watched summary when the caller does not say.
pub const DEFAULT_MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The same at least: summing up takes some milliseconds.
pub const LEAST_MIN_INTERVAL: Duration = Duration::from_millis(100);
/// The same at most: after an hour nobody calls it live.
pub const MOST_MIN_INTERVAL: Duration = Duration::from_secs(3600);
/// How far back a watched summary goes at least.
pub const LEAST_LAST: Duration = Duration::from_secs(60);
/// The same at most: ten years, as for a series.
pub const MOST_LAST: Duration = Duration::from_secs(3_660 * 86_400);
/// Days that a question without a range looks back.
pub const DEFAULT_DAYS: u64 = 30;
/// Decimals of money.
pub const MONEY_SCALE: u32 = 2;

/// The most that a sale can come to: 9,999,999,999.99.
pub fn max_amount() -> Decimal {
    Decimal::new(999_999_999_999, MONEY_SCALE)
}
/// Consistency tokens in the metadata of a call: a client library brings one, and one more for each of its calls that were
/// answered at the same time.
pub const MAX_CARRIED_TOKENS: usize = 16;
