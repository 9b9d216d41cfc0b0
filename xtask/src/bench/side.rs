//! One load over all rounds: rate, latencies, and what a thousand sales cost.

use serde::Serialize;

use super::batch_sizes::BatchSizes;
use super::latencies::Latencies;
use super::measure::{Load, Sample};
use super::statistics::{median, rounded};

/// One load over all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// For people.
    pub load: String,
    /// Whether it is the command service that is measured, and not its peer.
    #[serde(skip)]
    pub is_ours: bool,
    /// Callers or clients.
    pub callers: u32,
    /// Acknowledged sales a second: the median of the rounds.
    pub sales_per_second: f64,
    /// The same of each round.
    pub rates: Vec<f64>,
    /// Acknowledged sales in all rounds.
    pub sales: u64,
    /// Rows, headers and items, a second: the median of the rounds; absent where sales go in one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_second: Option<f64>,
    /// Commands that were planted to be refused by the database, and were.
    pub refused: u64,
    /// Of all rounds together; absent where no sale was acknowledged.
    pub p50_ms: Option<f64>,
    /// See `p50_ms`.
    pub p99_ms: Option<f64>,
    /// For a thousand sales.
    pub cpu_seconds_per_1000: CpuSeconds,
    /// The most memory that was resident at once.
    pub peak_memory_bytes: PeakMemory,
    /// How many commands were committed at once; absent where the service does not tell, and for pgbench.
    pub batch_size: Option<BatchSummary>,
    /// WAL that the replica had not applied when the load ended, in each round.
    pub lag_bytes: Vec<u64>,
    /// How long the replica took to apply it, in each round.
    pub drain_seconds: Vec<f64>,
}

/// Processor time by who used it; absent where the system does not tell.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CpuSeconds {
    /// The command service; it idles while pgbench works.
    pub service: Option<f64>,
    /// The load generator, or pgbench.
    pub generator: Option<f64>,
    /// All processes of the primary.
    pub primary: Option<f64>,
    /// All processes of the replica.
    pub replica: Option<f64>,
}

/// Memory by who had it; absent where the system does not tell.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PeakMemory {
    /// The command service, since its start.
    pub service: Option<u64>,
    /// The load generator, or pgbench.
    pub generator: Option<u64>,
}

/// How many commands were committed at once.
#[derive(Debug, Clone, Serialize)]
pub struct BatchSummary {
    /// Commands in a batch on average.
    pub mean: Option<f64>,
    /// The distribution.
    #[serde(flatten)]
    pub sizes: BatchSizes,
}

impl Side {
    /// Sums the rounds up.
    pub fn of(load: Load, samples: &[Sample]) -> Side {
        let sales: u64 = samples.iter().map(|sample| sample.tally.acknowledged).sum();
        let mut latencies = Latencies::default();
        samples.iter().for_each(|sample| latencies.add(&sample.tally.latencies));
        let rates: Vec<f64> = samples.iter().map(|sample| rounded(sample.tally.rate(), 1)).collect();
        let per_1000 = |of: &dyn Fn(&Sample) -> Option<f64>| {
            let total: f64 = samples.iter().map(of).sum::<Option<f64>>()?;
            (sales > 0).then(|| rounded(total * 1_000.0 / sales as f64, 4))
        };
        let is_ours = load.is_ours();
        Side {
            load: load.name(),
            is_ours,
            callers: load.width(),
            sales_per_second: median(&rates).unwrap_or_default(),
            rates,
            sales,
            rows_per_second: median(&samples.iter().filter_map(|sample| sample.tally.row_rate()).collect::<Vec<_>>())
                .map(|rate| rounded(rate, 0)),
            refused: samples.iter().map(|sample| sample.tally.refused).sum(),
            p50_ms: latencies.milliseconds_at(0.5),
            p99_ms: latencies.milliseconds_at(0.99),
            cpu_seconds_per_1000: CpuSeconds {
                service: per_1000(&|sample| sample.service_cpu_seconds),
                generator: per_1000(&|sample| sample.tally.usage.map(|usage| usage.cpu_seconds)),
                primary: per_1000(&|sample| sample.primary_cpu_seconds),
                replica: per_1000(&|sample| sample.replica_cpu_seconds),
            },
            peak_memory_bytes: PeakMemory {
                service: samples.iter().filter_map(|sample| sample.service_peak_memory_bytes).max(),
                generator: samples.iter().filter_map(|sample| Some(sample.tally.usage?.peak_memory_bytes)).max(),
            },
            batch_size: if is_ours { batch_summary(samples) } else { None },
            lag_bytes: samples.iter().map(|sample| sample.lag.bytes).collect(),
            drain_seconds: samples.iter().map(|sample| rounded(sample.lag.drain_seconds, 3)).collect(),
        }
    }
}

fn batch_summary(samples: &[Sample]) -> Option<BatchSummary> {
    let mut all: Option<BatchSizes> = None;
    for sizes in samples.iter().filter_map(|sample| sample.batches.as_ref()) {
        all.get_or_insert_default().add(sizes);
    }
    all.map(|sizes| BatchSummary { mean: sizes.mean().map(|mean| rounded(mean, 1)), sizes })
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::super::load::Tally;
    use super::super::replica_lag::Lag;
    use super::super::usage::Usage;
    use super::*;

    /// A round in which so many sales were acknowledged in one second.
    pub fn sample(sales: u64) -> Sample {
        let mut tally = Tally { seconds: 1.0, ..Tally::default() };
        (0..sales).for_each(|_| tally.acknowledge(Duration::from_millis(2)));
        tally.usage = Some(Usage { cpu_seconds: 0.5, peak_memory_bytes: sales });
        Sample {
            tally,
            service_cpu_seconds: Some(1.0),
            service_peak_memory_bytes: Some(7),
            primary_cpu_seconds: None,
            replica_cpu_seconds: Some(0.25),
            batches: Some(BatchSizes { batches: 10.0, commands: sales as f64, ..BatchSizes::default() }),
            lag: Lag { bytes: sales, drain_seconds: 0.5 },
        }
    }

    #[test]
    fn costs_are_those_of_a_thousand_sales_over_all_rounds() {
        let side = Side::of(Load::callers(8), &[sample(100), sample(300), sample(400)]);
        assert_eq!((side.sales_per_second, side.sales), (300.0, 800));
        let cpu = side.cpu_seconds_per_1000;
        assert_eq!((cpu.service, cpu.generator), (Some(3.75), Some(1.875)));
        assert_eq!(cpu.primary, None, "what one round does not know the whole does not know");
        assert_eq!((side.peak_memory_bytes.generator, side.lag_bytes), (Some(400), vec![100, 300, 400]));
        assert_eq!(side.batch_size.unwrap().mean, Some(26.7));
    }

    #[test]
    fn pgbench_has_no_batch_sizes_even_while_the_service_tells_some() {
        assert!(Side::of(Load::Pgbench(8), &[sample(100)]).batch_size.is_none());
    }
}
