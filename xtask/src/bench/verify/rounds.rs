//! V1 and V2: verifier and peers in turn, on a pair at rest.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::bed::Bed;
use super::super::comparison::{Aim, Comparison, Measured};
use super::super::usage::cluster_cpu_seconds;
use super::peers::{Peers, Way};
use super::program::Verifier;
use super::{Args, RowId};

/// Times as long as bare hashing.
const BARE_TARGET: f64 = 1.5;

/// Times as fast as sums of MD5.
const MD5_TARGET: f64 = 8.0;

/// Milliseconds of each round.
#[derive(Debug, Default)]
struct Taken {
    milliseconds: Vec<f64>,
    cpu_seconds: [f64; 2],
}

impl Taken {
    fn enter(&mut self, took: Duration, before: [Option<f64>; 2], after: [Option<f64>; 2]) {
        self.milliseconds.push(took.as_secs_f64() * 1_000.0);
        for (sum, (before, after)) in self.cpu_seconds.iter_mut().zip(before.into_iter().zip(after)) {
            *sum += before.zip(after).map_or(0.0, |(before, after)| after - before);
        }
    }

    fn measured(&self, name: &str, rows: u64) -> Measured {
        let calls = rows * self.milliseconds.len() as u64;
        let [primary, replica] = self.cpu_seconds.map(Some);
        Measured::new(name, "ms", &self.milliseconds).cpu("primary", primary, calls).cpu("replica", replica, calls)
    }
}

/// Measures in turn, each round the other way round.
///
/// # Errors
///
/// [`Void`](super::super::Void) where an answer was wrong; others where it can't be measured.
pub async fn measure(
    verifier: &Verifier,
    bed: &Bed,
    args: &Args,
    wanted: &BTreeSet<RowId>,
) -> anyhow::Result<Vec<Comparison>> {
    let mut peers = Peers::connect(bed).await?;
    let mut ways = vec![(None, Taken::default())];
    for (row, way) in [(RowId::V1, Way::BareHash), (RowId::V2, Way::Md5)] {
        if wanted.contains(&row) {
            ways.push((Some(way), Taken::default()));
        }
    }
    let costs = || [cluster_cpu_seconds(bed.pair.primary()), cluster_cpu_seconds(bed.pair.replica())];
    let mut rows = 0;
    for round in 0..=args.rounds.get() {
        for (way, taken) in &mut ways {
            let before = costs();
            let took = match way {
                None => {
                    let verified = verifier.run_on_equals().await?;
                    rows = verified.rows();
                    verified.took
                }
                Some(way) => peers.compare(*way).await?,
            };
            // The first round warms up.
            if round > 0 {
                taken.enter(took, before, costs());
            }
        }
        ways.reverse();
    }
    let of = |wanted: Option<Way>| ways.iter().find(|(way, _)| *way == wanted).map(|(_, taken)| taken);
    let Some(ours) = of(None) else { return Ok(Vec::new()) };
    let row = |way: Way, id, aim, target| {
        let peer = of(Some(way))?;
        let ratio = |(ours, peer): (&f64, &f64)| if aim == Aim::AtMost { ours / peer } else { peer / ours };
        let ratios: Vec<f64> = ours.milliseconds.iter().zip(&peer.milliseconds).map(ratio).collect();
        let (ours, peer) = (ours.measured("tandem-verify", rows), peer.measured(way.name(), rows));
        Some(Comparison::new(id, aim, target, &ratios, ours, Some(peer))?.with("rows", rows))
    };
    let rows = [row(Way::BareHash, "V1", Aim::AtMost, BARE_TARGET), row(Way::Md5, "V2", Aim::AtLeast, MD5_TARGET)];
    let rows: Vec<Comparison> = rows.into_iter().flatten().collect();
    rows.iter().for_each(Comparison::tell);
    Ok(rows)
}
