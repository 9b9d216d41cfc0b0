//! How many commands the service committed at once, from its own metric.

use std::collections::BTreeMap;

use serde::Serialize;

/// The histogram that the command service keeps of its lanes.
const METRIC: &str = "tandem_lane_batch_size";

/// How many batches of which size there were.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BatchSizes {
    /// Batches.
    pub batches: f64,
    /// Commands in all of them.
    pub commands: f64,
    /// Batches of at most so many commands, by that number as Prometheus writes it (`+Inf` is all).
    pub at_most: BTreeMap<String, f64>,
}

impl BatchSizes {
    /// What a scrape says; `None` where the service has no such metric. Lanes are added up.
    pub fn parse(scrape: &str) -> Option<BatchSizes> {
        let mut found = None;
        for line in scrape.lines() {
            let Some(rest) = line.strip_prefix(METRIC) else { continue };
            let Some((labels, value)) = rest.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (kind, labels) = labels.split_once('{').unwrap_or((labels, ""));
            if !["_sum", "_count", "_bucket"].contains(&kind) {
                continue;
            }
            let sizes: &mut BatchSizes = found.get_or_insert_default();
            match kind {
                "_sum" => sizes.commands += value,
                "_count" => sizes.batches += value,
                _ => {
                    let limit = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
                    if let Some((limit, _)) = limit {
                        *sizes.at_most.entry(limit.to_owned()).or_default() += value;
                    }
                }
            }
        }
        found
    }

    /// What came since an earlier scrape.
    #[must_use]
    pub fn since(&self, earlier: &BatchSizes) -> BatchSizes {
        let before = |limit: &String| earlier.at_most.get(limit).copied().unwrap_or_default();
        BatchSizes {
            batches: self.batches - earlier.batches,
            commands: self.commands - earlier.commands,
            at_most: self.at_most.iter().map(|(limit, value)| (limit.clone(), value - before(limit))).collect(),
        }
    }

    /// Adds another span's batches.
    pub fn add(&mut self, other: &BatchSizes) {
        self.batches += other.batches;
        self.commands += other.commands;
        for (limit, value) in &other.at_most {
            *self.at_most.entry(limit.clone()).or_default() += value;
        }
    }

    /// Commands in a batch; `None` without batches.
    pub fn mean(&self) -> Option<f64> {
        (self.batches > 0.0).then(|| self.commands / self.batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "# TYPE tandem_lane_batch_size histogram
tandem_lane_batch_size_bucket{lane=\"0\",le=\"1\"} 2
tandem_lane_batch_size_bucket{lane=\"0\",le=\"+Inf\"} 4
tandem_lane_batch_size_sum{lane=\"0\"} 40
tandem_lane_batch_size_count{lane=\"0\"} 4
tandem_lane_batch_size_bucket{lane=\"1\",le=\"1\"} 1
tandem_lane_batch_size_bucket{lane=\"1\",le=\"+Inf\"} 1
tandem_lane_batch_size_sum{lane=\"1\"} 1
tandem_lane_batch_size_count{lane=\"1\"} 1
other_count 9
";

    #[test]
    fn lanes_are_added_up() {
        let sizes = BatchSizes::parse(SCRAPE).unwrap();
        assert_eq!((sizes.batches, sizes.commands, sizes.mean()), (5.0, 41.0, Some(8.2)));
        assert_eq!((sizes.at_most["1"], sizes.at_most["+Inf"]), (3.0, 5.0));
    }

    #[test]
    fn only_what_came_since_the_scrape_before_counts() {
        let sizes = BatchSizes::parse(SCRAPE).unwrap();
        let nothing = sizes.since(&sizes);
        assert_eq!((nothing.batches, nothing.mean(), nothing.at_most["+Inf"]), (0.0, None, 0.0));
        let mut twice = sizes.since(&BatchSizes::default());
        twice.add(&sizes);
        assert_eq!(twice.batches, 10.0);
    }

    #[test]
    fn a_service_without_the_metric_has_no_batch_sizes() {
        assert_eq!(BatchSizes::parse("other_count 9\n"), None);
        assert_eq!(BatchSizes::parse("tandem_lane_batch_sizes_count 9\n").map(|sizes| sizes.batches), None);
    }
}
