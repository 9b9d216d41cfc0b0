//! From samples to rows: which load is measured against which.

use std::collections::{BTreeMap, BTreeSet};

use super::super::loader::Way;
use super::super::measure::{Load, Sample};
use super::super::report::{Detail, OpenLoop, Row};
use super::super::side::Side;
use super::super::statistics::{Spread, median, rounded};
use super::arguments::{Args, Callers, RowId};

/// Of a hundred commands of W4, how many only the database can refuse.
pub const REFUSED_PERCENT: u32 = 1;

/// Shares of the highest rate at which latencies are measured.
pub const OPEN_LOOP_SHARES: [f64; 2] = [0.5, 0.8];

/// All samples of a run, by load, one a round.
pub type Samples = BTreeMap<Load, Vec<Sample>>;

/// The loads of W1 to W5.
#[derive(Debug, Clone)]
pub struct Plan {
    rows: BTreeSet<RowId>,
    callers: Callers,
    further_clients: Vec<u32>,
    import_sales: u64,
}

impl Plan {
    /// What was asked for.
    pub fn of(args: &Args) -> Plan {
        let further_clients = args.clients.iter().map(|clients| clients.get()).collect();
        Plan {
            rows: args.rows.iter().copied().collect(),
            callers: args.callers,
            further_clients,
            import_sales: args.import_sales.get(),
        }
    }

    /// What W1 is: the load whose highest rate is looked for.
    pub fn most(&self) -> Load {
        Load::callers(self.callers.most)
    }

    /// A load of pgbench that is neither the smallest nor the largest.
    pub fn some_clients(&self) -> u32 {
        self.callers.some
    }

    /// Whether W1 is asked for.
    pub fn wants_open_loop(&self) -> bool {
        self.rows.contains(&RowId::W1)
    }

    /// The loads of a round: each side in turn, from few to many.
    pub fn loads(&self) -> Vec<Load> {
        let mut wanted = BTreeSet::new();
        for row in &self.rows {
            wanted.extend(self.ours(*row));
            wanted.extend(self.peers(*row));
        }
        let mut loads: Vec<Load> = wanted.into_iter().collect();
        loads.sort_by_key(|load| (load.width(), *load));
        loads
    }

    /// The rows that were asked for. Each load has a sample for each round.
    pub fn rows(&self, samples: &Samples, open_loop: &[OpenLoop]) -> Vec<Row> {
        self.rows.iter().filter_map(|row| self.row(*row, samples, open_loop)).collect()
    }

    fn ours(&self, row: RowId) -> Option<Load> {
        Some(match row {
            RowId::W1 => self.most(),
            RowId::W2 => Load::callers(self.callers.some),
            RowId::W3 => Load::callers(self.callers.few),
            RowId::W4 => Load::Callers { callers: self.callers.most, refused_percent: REFUSED_PERCENT },
            RowId::W5 => Load::Bulk { sales: self.import_sales, way: Way::Import },
        })
    }

    /// What a row is measured against: the best of these.
    fn peers(&self, row: RowId) -> Vec<Load> {
        match row {
            RowId::W1 => {
                let clients: BTreeSet<u32> =
                    self.further_clients.iter().copied().chain([self.callers.few, self.callers.some]).collect();
                clients.into_iter().map(Load::Pgbench).collect()
            }
            RowId::W2 => vec![Load::Pgbench(self.callers.some)],
            RowId::W3 => vec![Load::Pgbench(self.callers.few)],
            RowId::W4 => vec![self.most()],
            RowId::W5 => vec![Load::Bulk { sales: self.import_sales, way: Way::Copy }],
        }
    }

    fn row(&self, row: RowId, samples: &Samples, open_loop: &[OpenLoop]) -> Option<Row> {
        let rates = |load: &Load| {
            Some(
                samples
                    .get(load)?
                    .iter()
                    .map(|sample| sample.tally.row_rate().unwrap_or_else(|| sample.tally.rate()))
                    .collect::<Vec<_>>(),
            )
        };
        let ours = self.ours(row)?;
        let mut peers = self.peers(row);
        // The one that is best over all rounds: picking anew in each round would pick luck.
        let typical = |load: &Load| rates(load).and_then(|rates| median(&rates)).unwrap_or_default();
        peers.sort_by(|one, other| typical(other).total_cmp(&typical(one)));
        let (peer, others) = peers.split_first()?;
        let ratios: Vec<f64> = rates(&ours)?.iter().zip(rates(peer)?).map(|(ours, peer)| ours / peer).collect();
        let side = |load: &Load| Some(Side::of(*load, samples.get(load)?));
        let detail = Detail {
            work: format!("{} against {}", ours.name(), peer.name()),
            ratios: ratios.iter().map(|ratio| rounded(*ratio, 3)).collect(),
            ours: side(&ours)?,
            peer: side(peer)?,
            other_peers: others.iter().filter_map(side).collect(),
            until_equal: (row == RowId::W5).then(|| until_equal(samples.get(&ours)?, samples.get(peer)?)).flatten(),
            open_loop: if row == RowId::W1 { open_loop.to_vec() } else { Vec::new() },
        };
        let (id, target) = named(row);
        Some(Row::new(id, target, Spread::of(&ratios)?, detail))
    }
}

/// How many times as fast as the peer it is when time counts until the replica has everything, too.
fn until_equal(ours: &[Sample], peer: &[Sample]) -> Option<Spread> {
    let rate = |sample: &Sample| sample.tally.acknowledged as f64 / (sample.tally.seconds + sample.lag.drain_seconds);
    let ratios: Vec<f64> = ours.iter().zip(peer).map(|(ours, peer)| rounded(rate(ours) / rate(peer), 3)).collect();
    Spread::of(&ratios)
}

/// A row's name in the table, and its target.
fn named(row: RowId) -> (&'static str, f64) {
    match row {
        RowId::W1 => ("W1", 2.0),
        RowId::W2 => ("W2", 1.5),
        RowId::W3 => ("W3", 0.8),
        RowId::W4 => ("W4", 0.8),
        RowId::W5 => ("W5", 0.7),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::side::tests::sample;
    use super::*;

    fn plan(rows: &[RowId]) -> Plan {
        let rows = rows.iter().copied().collect();
        Plan {
            rows,
            callers: Callers { few: 8, some: 64, most: 256 },
            further_clients: vec![32, 90],
            import_sales: 500,
        }
    }

    const ALL: [RowId; 5] = [RowId::W1, RowId::W2, RowId::W3, RowId::W4, RowId::W5];

    fn samples(loads: &[(Load, [u64; 3])]) -> Samples {
        loads.iter().map(|(load, rates)| (*load, rates.map(sample).to_vec())).collect()
    }

    #[test]
    fn a_round_applies_each_load_once_and_both_sides_in_turn() {
        let names: Vec<String> = plan(&ALL).loads().into_iter().map(Load::name).collect();
        let expected = [
            "psql COPY, one transaction",
            "ImportTransactions",
            "pgbench, 8 clients",
            "Tandem, 8 callers",
            "pgbench, 32 clients",
            "pgbench, 64 clients",
            "Tandem, 64 callers",
            "pgbench, 90 clients",
            "Tandem, 256 callers",
            "Tandem, 256 callers, 1% refused",
        ];
        assert_eq!(names, expected);
        assert_eq!(plan(&[RowId::W3]).loads().len(), 2);
    }

    #[test]
    fn the_peer_of_the_first_row_is_the_best_over_all_rounds_and_not_of_a_lucky_one() {
        let samples = samples(&[
            (Load::callers(256), [300, 330, 240]),
            (Load::Pgbench(8), [50, 50, 50]),
            (Load::Pgbench(32), [100, 300, 110]),
            (Load::Pgbench(64), [150, 110, 120]),
            (Load::Pgbench(90), [100, 100, 100]),
        ]);
        let rows = plan(&[RowId::W1]).rows(&samples, &[]);
        let [row] = rows.as_slice() else { panic!("one row was asked for") };
        assert_eq!(row.detail.peer.callers, 64);
        assert_eq!((row.ratio, row.low, row.high, row.target, row.holds), (2.0, 2.0, 3.0, 2.0, true));
        assert_eq!((row.detail.other_peers.len(), row.detail.ratios.clone()), (3, vec![2.0, 3.0, 2.0]));
    }

    #[test]
    fn refused_commands_are_measured_against_the_same_load_without() {
        let refused = Load::Callers { callers: 256, refused_percent: 1 };
        let samples = samples(&[(Load::callers(256), [100, 100, 100]), (refused, [70, 90, 60])]);
        let row = plan(&[RowId::W4]).rows(&samples, &[]).remove(0);
        assert_eq!((row.id, row.ratio, row.low, row.high, row.holds), ("W4", 0.7, 0.6, 0.9, false));
    }

    #[test]
    fn as_json_a_row_has_the_documented_shape() {
        let samples = samples(&[(Load::callers(8), [90, 90, 90]), (Load::Pgbench(8), [100, 100, 100])]);
        let json = serde_json::to_value(plan(&[RowId::W3]).rows(&samples, &[])).unwrap();
        let row = json[0].as_object().unwrap();
        let mut keys: Vec<&str> = row.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["detail", "high", "holds", "id", "low", "ratio", "target"]);
        assert_eq!(
            (row["id"].as_str(), row["ratio"].as_f64(), row["holds"].as_bool()),
            (Some("W3"), Some(0.9), Some(true))
        );
    }
}
