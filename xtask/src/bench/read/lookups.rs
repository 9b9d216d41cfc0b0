//! Q5: single sales by their ids, against pgbench.

use std::num::{NonZeroU32, NonZeroU64};

use anyhow::Context;

use super::super::answers::Void;
use super::super::comparison::{Aim, Comparison, Measured};
use super::super::load::{Tally, reads};
use super::super::pgbench::Pgbench;
use super::super::shop::Sales;
use super::super::usage::cluster_cpu_seconds;
use super::rounds::Shop;
use crate::postgres::Login;

/// Times as many as pgbench.
const TARGET: f64 = 0.6;

/// HTTP/2 connections of all callers together, as in `bench write`.
const CONNECTIONS: NonZeroU32 = NonZeroU32::new(2).expect("not zero");

/// One side of one round.
struct Sample {
    tally: Tally,
    service_cpu_seconds: Option<f64>,
    replica_cpu_seconds: Option<f64>,
}

/// Has both sides read in turn.
///
/// # Errors
///
/// [`Void`] where a sale did not come as it must.
pub async fn measure(
    shop: &mut Shop,
    callers: NonZeroU32,
    seconds: NonZeroU32,
    rounds: u32,
) -> anyhow::Result<Option<Comparison>> {
    let sales = shop.sales;
    let pgbench = Pgbench::with_script(&shop.bed, Login::Query, &script(&sales))?;
    let args = reads::Args {
        address: shop.query.address,
        callers,
        connections: CONNECTIONS,
        seconds,
        sales: NonZeroU64::new(sales.count).context("there are sales")?,
        start: sales.start,
        step: sales.step,
    };
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let before = costs(shop);
        let tally = shop.bed.generator.read(&args).await?;
        let sample = sample(shop, tally, before)?;
        let before = costs(shop);
        let told = pgbench.run(callers.get(), 1, seconds.get()).await?.tally()?;
        let other = self::sample(shop, told, before)?;
        // The first warms both up.
        if round > 0 {
            ours.push(sample);
            peer.push(other);
        }
    }
    let ratios: Vec<f64> = ours.iter().zip(&peer).map(|(ours, peer)| ours.tally.rate() / peer.tally.rate()).collect();
    let [ours, peer] =
        [(format!("GetTransaction, {callers} callers"), ours), (format!("pgbench, {callers} clients"), peer)]
            .map(|(name, samples)| side(name, &samples));
    Ok(Comparison::new("Q5", Aim::AtLeast, TARGET, &ratios, ours, Some(peer)))
}

fn costs(shop: &Shop) -> [Option<f64>; 2] {
    [shop.query.usage().map(|usage| usage.cpu_seconds), cluster_cpu_seconds(shop.bed.pair.replica())]
}

fn sample(shop: &mut Shop, tally: Tally, before: [Option<f64>; 2]) -> anyhow::Result<Sample> {
    shop.query.check_alive()?;
    if let Some((fault, times)) = tally.faults.iter().next() {
        return Err(Void(format!("{times} × {fault}")).into());
    }
    let [service, replica] = costs(shop);
    let between = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
    Ok(Sample {
        tally,
        service_cpu_seconds: between(before[0], service),
        replica_cpu_seconds: between(before[1], replica),
    })
}

fn side(name: String, samples: &[Sample]) -> Measured {
    let rates: Vec<f64> = samples.iter().map(|sample| sample.tally.rate()).collect();
    let reads = samples.iter().map(|sample| sample.tally.acknowledged).sum();
    let total = |of: &dyn Fn(&Sample) -> Option<f64>| samples.iter().map(of).sum::<Option<f64>>();
    let mut latencies = super::super::Latencies::default();
    samples.iter().for_each(|sample| latencies.add(&sample.tally.latencies));
    let mut measured = Measured::new(name, "reads/s", &rates)
        .cpu("service", total(&|sample| sample.service_cpu_seconds), reads)
        .cpu("replica", total(&|sample| sample.replica_cpu_seconds), reads)
        .cpu("generator", total(&|sample| Some(sample.tally.usage?.cpu_seconds)), reads)
        .memory("generator", samples.iter().filter_map(|sample| Some(sample.tally.usage?.peak_memory_bytes)).max());
    for (part, share) in [("p50_ms", 0.5), ("p99_ms", 0.99)] {
        measured.parts.extend(latencies.milliseconds_at(share).map(|value| (part, value)));
    }
    measured
}

/// One statement that reads header and items of a sale that there is, by an id that number and time make up.
fn script(sales: &Sales) -> String {
    let Sales { count, step, .. } = sales;
    let start = sales.start.timestamp_micros();
    format!(
        "\\set number random(1, {count})
\\set milliseconds ({start} + (:number - 1) * {step}) / 1000
select
    sale.transaction_id, sale.transaction_time, sale.cashier_id, sale.store_id, sale.payment_method, sale.total_amount,
    sale.total_discount, sale.customer_id, sale.created_at, sale.updated_at, sale.version, item.item_id,
    item.product_code, item.product_name, item.category, item.quantity, item.unit_price, item.discount, item.total_price
from sales.sales_transaction as sale
left join sales.sales_item as item on item.transaction_id = sale.transaction_id
where sale.transaction_id =
    (lpad(to_hex(:milliseconds::bigint), 12, '0') || '70008000' || lpad(to_hex(:number::bigint), 12, '0'))::uuid
order by item.item_id;
"
    )
}
