//! What to make.

use chrono::{DateTime, NaiveTime, Utc};

use super::generator::Sales;

/// Any number will do; this one makes everybody's first pair the same.
pub const DEFAULT_RNG_SEED: u64 = 1;
/// The seed for a primary that holds so many sales already: another one than made those.
pub fn rng_seed_after(sales: u64) -> u64 {
    DEFAULT_RNG_SEED.wrapping_add(sales)
}

/// As far back as the dashboards look.
pub(super) const DEFAULT_DAYS: u32 = 30;
/// Enough to keep every lane of the command service busy, and below its limit of concurrent requests.
pub(super) const DEFAULT_BATCH_SIZE: usize = 100;
/// A batch of COPY costs some 90 ms of waiting whatever its size (the driver's small last packets meet delayed
/// acknowledgements), which this many sales make up for; two megabytes of text at most.
pub(super) const DEFAULT_COPY_BATCH_SIZE: usize = 5_000;
/// What the services default to.
pub const DEFAULT_CURRENCY: &str = "USD";

/// What to make; the same plan makes the same sales.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How many.
    pub sales: u64,
    /// Over how many whole days; at least one.
    pub days: u32,
    /// What the generator starts from.
    pub rng_seed: u64,
    /// Calls in flight, or sales a database transaction.
    pub batch_size: usize,
    /// The end of the last day. `None`: today's midnight (UTC), so that runs of one day agree.
    pub until: Option<DateTime<Utc>>,
    /// Three letters, ISO 4217; the one that the command service takes.
    pub currency: String,
}

impl Plan {
    /// So many sales, and the defaults of the command line.
    pub fn new(sales: u64) -> Self {
        Self {
            sales,
            days: DEFAULT_DAYS,
            rng_seed: DEFAULT_RNG_SEED,
            batch_size: DEFAULT_BATCH_SIZE,
            until: None,
            currency: DEFAULT_CURRENCY.to_owned(),
        }
    }

    /// The sales.
    pub fn sales(&self) -> Sales {
        let until = self.until.unwrap_or_else(|| Utc::now().date_naive().and_time(NaiveTime::MIN).and_utc());
        Sales::new(self.sales, self.days, until, self.rng_seed)
    }
}
