//! A bar on a terminal, silence elsewhere, and a count either way.

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::batch::BatchReceipt;
use super::generator::Sale;
use super::import::Receipt;
use crate::terminal::counted;

/// Redraws the clock also while no sale arrives.
const TICK: Duration = Duration::from_millis(200);

/// What was done, in the end or so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Sales that the primary has committed.
    pub sales: u64,
    /// Their items.
    pub items: u64,
    /// How long it took.
    pub seconds: f64,
    /// Sales a second over the whole time.
    pub sales_per_second: f64,
    /// The sum of the sales' totals.
    pub revenue: Decimal,
    /// Whether it was stopped before all were in.
    pub stopped: bool,
    /// What the service gave for an import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// The batch that the sales are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchReceipt>,
}

impl Outcome {
    /// Nothing was to be done.
    pub(super) fn nothing() -> Outcome {
        Progress::start(0).finish()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stopped {
            f.write_str("stopped: ")?;
        }
        let (sales, items) = (counted(self.sales, "sale"), counted(self.items, "item"));
        let are = if self.sales == 1 { "is" } else { "are" };
        let (seconds, rate) = (self.seconds, HumanCount(self.sales_per_second.round() as u64));
        write!(f, "{sales} with {items} {are} in: {seconds:.1} s, {rate} sales/s, revenue {}", money(self.revenue))?;
        if let Some(Receipt { import_id, lsn, consistency_token, content_hash }) = &self.receipt {
            write!(f, "\nreceipt of {import_id}: durable at {lsn}, content {content_hash}\ntoken {consistency_token}")?;
        }
        if let Some(BatchReceipt { batch_id, lsn, consistency_token, files, .. }) = &self.batch {
            write!(f, "\nbatch {batch_id}: COMPLETED, durable at {lsn}\ntoken {consistency_token}")?;
            for file in files {
                write!(f, "\nwritten to {file}")?;
            }
        }
        Ok(())
    }
}

/// An amount as people read it: `137,774.49`.
fn money(amount: Decimal) -> String {
    let text = format!("{amount:.2}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, "00"));
    whole.parse().map_or_else(|_| text.clone(), |whole| format!("{}.{fraction}", HumanCount(whole)))
}

/// Counts the sales that are in.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    started: Instant,
    planned: u64,
    committed: Share,
}

/// What some sales add up to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// How many there are.
    pub sales: u64,
    /// Their items.
    pub items: u64,
    /// The sum of their totals.
    pub revenue: Decimal,
}

impl Default for Share {
    fn default() -> Self {
        Self { sales: 0, items: 0, revenue: Decimal::new(0, 2) }
    }
}

impl From<&Sale> for Share {
    fn from(sale: &Sale) -> Self {
        Self { sales: 1, items: sale.lines.len() as u64, revenue: sale.total_amount() }
    }
}

impl Share {
    pub(super) fn add(&mut self, other: Share) {
        self.sales += other.sales;
        self.items += other.items;
        self.revenue += other.revenue;
    }
}

impl Progress {
    pub(super) fn start(planned: u64) -> Self {
        let bar = if stderr().is_terminal() { ProgressBar::new(planned) } else { ProgressBar::hidden() };
        let style = "{bar:24} {human_pos}/{human_len} sales  {rate}  {elapsed} elapsed, {eta} left  {msg}";
        let style = ProgressStyle::with_template(style).expect("the template is a constant that parses");
        bar.set_style(style.with_key("rate", |state: &ProgressState, line: &mut dyn fmt::Write| {
            // A bar that can't be drawn is no reason to stop.
            write!(line, "{:.0}/s", state.per_sec()).unwrap_or_default();
        }));
        bar.enable_steady_tick(TICK);
        Self { bar, started: Instant::now(), planned, committed: Share::default() }
    }

    /// More sales are in.
    pub(super) fn add(&mut self, share: Share) {
        self.committed.add(share);
        self.bar.set_position(self.committed.sales);
    }

    /// So many sales are on their way; nothing is in before it is added.
    pub(super) fn show(&self, sales: u64, doing: &'static str) {
        self.bar.set_position(sales);
        self.bar.set_message(doing);
    }

    pub(super) fn sales(&self) -> u64 {
        self.committed.sales
    }

    /// Takes the bar away and says what was done.
    pub(super) fn finish(self) -> Outcome {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        Outcome {
            sales: self.committed.sales,
            items: self.committed.items,
            seconds,
            sales_per_second: if seconds > 0.0 { self.committed.sales as f64 / seconds } else { 0.0 },
            revenue: self.committed.revenue,
            stopped: self.committed.sales < self.planned,
            receipt: None,
            batch: None,
        }
    }
}

impl Drop for Progress {
    /// A failure must not leave half a bar above its message.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_money_has_cents() {
        let outcome = Outcome {
            sales: 10_000,
            items: 21_425,
            seconds: 8.0,
            sales_per_second: 1250.4,
            revenue: Decimal::new(13_777_440, 2),
            stopped: false,
            receipt: None,
            batch: None,
        };
        let text = "10,000 sales with 21,425 items are in: 8.0 s, 1,250 sales/s, revenue 137,774.40";
        assert_eq!(outcome.to_string(), text);
        let one = Outcome { sales: 1, items: 1, ..outcome };
        assert!(one.to_string().starts_with("1 sale with 1 item is in: "), "{one}");
    }
}
