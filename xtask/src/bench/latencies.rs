//! Latencies in a full histogram, which travels between processes and adds up over rounds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds. Calls end after [`super::load::CALL_TIMEOUT`] at the latest; ten minutes leave room for any other use.
const LONGEST: u64 = 600_000_000;

/// A thousandth of a value is less than what rounds differ by.
const SIGNIFICANT_DIGITS: u8 = 3;

/// How often calls took how long, from a microsecond to ten minutes. As JSON: pairs of microseconds and a count.
#[derive(Debug, Clone, PartialEq)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LONGEST, SIGNIFICANT_DIGITS);
        Latencies { histogram: histogram.expect("the bounds are constants that fit") }
    }
}

impl Latencies {
    /// One more call.
    pub fn record(&mut self, took: Duration) {
        self.record_many(u64::try_from(took.as_micros()).unwrap_or(LONGEST), 1);
    }

    /// Some more calls that took as many microseconds.
    pub fn record_many(&mut self, microseconds: u64, calls: u64) {
        self.histogram.saturating_record_n(microseconds.max(1), calls);
    }

    /// Takes another's calls in.
    pub fn add(&mut self, other: &Latencies) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
    }

    /// How many calls.
    pub fn calls(&self) -> u64 {
        self.histogram.len()
    }

    /// What `share` of the calls (0 to 1) took at most, in milliseconds; `None` without calls.
    pub fn milliseconds_at(&self, share: f64) -> Option<f64> {
        (!self.histogram.is_empty()).then(|| self.histogram.value_at_quantile(share) as f64 / 1_000.0)
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(self.histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Latencies, D::Error> {
        let mut latencies = Latencies::default();
        for (microseconds, calls) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            latencies.record_many(microseconds, calls);
        }
        Ok(latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_all_calls_added_up() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.milliseconds_at(0.5), None);
        let mut other = Latencies::default();
        (1..=50).for_each(|milliseconds| latencies.record(Duration::from_millis(milliseconds)));
        (51..=100).for_each(|milliseconds| other.record(Duration::from_millis(milliseconds)));
        latencies.add(&other);
        let at = |share| latencies.milliseconds_at(share).unwrap();
        assert!((49.9..50.1).contains(&at(0.5)) && (98.9..99.2).contains(&at(0.99)), "{} {}", at(0.5), at(0.99));
        assert_eq!(latencies.calls(), 100);
    }

    #[test]
    fn a_histogram_survives_the_way_between_processes() {
        let mut latencies = Latencies::default();
        for microseconds in [0, 1, 999, 123_456, 5_000_000, u64::MAX] {
            latencies.record_many(microseconds, 3);
        }
        let text = serde_json::to_string(&latencies).unwrap();
        let back: Latencies = serde_json::from_str(&text).unwrap();
        assert_eq!(back.calls(), 18);
        for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
            assert_eq!(back.milliseconds_at(share), latencies.milliseconds_at(share));
        }
    }
}
