//! V3: how fast callers write while one verifier after the other runs, against undisturbed.

use std::num::NonZeroU32;

use tokio_util::sync::CancellationToken;

use super::super::answers::Ledger;
use super::super::bed::Bed;
use super::super::comparison::{Aim, Comparison, Measured};
use super::super::replica_lag::drain;
use super::super::statistics::{median, rounded};
use super::Args;
use super::program::{Verified, Verifier};

/// Times as fast as undisturbed.
const TARGET: f64 = 0.85;

/// Rates of the rounds.
#[derive(Debug, Default)]
struct Rates {
    undisturbed: Vec<f64>,
    beside: Vec<f64>,
}

/// Measures in turn, each round the other way round.
///
/// # Errors
///
/// [`Void`](super::super::Void) where an answer was wrong; others where it can't be measured.
pub async fn measure(verifier: &Verifier, bed: &mut Bed, args: &Args) -> anyhow::Result<Option<Comparison>> {
    let mut ledger = Ledger::default();
    let mut rates = Rates::default();
    let mut verified = Vec::new();
    ledger.enter("warming up", &bed.write(args.callers, NonZeroU32::MIN).await?, true)?;
    for round in 1..=args.rounds.get() {
        for disturbed in if round % 2 == 0 { [true, false] } else { [false, true] } {
            drain(bed).await?;
            bed.analyze().await?;
            bed.checkpoint().await?;
            if disturbed {
                let written = CancellationToken::new();
                let writing = async {
                    let tally = bed.write(args.callers, args.seconds).await;
                    written.cancel();
                    tally
                };
                let (tally, checks) = tokio::try_join!(writing, again_and_again(verifier, &written))?;
                ledger.enter("beside tandem-verify", &tally, true)?;
                rates.beside.push(tally.rate());
                verified.extend(checks);
            } else {
                let tally = bed.write(args.callers, args.seconds).await?;
                ledger.enter("undisturbed", &tally, true)?;
                rates.undisturbed.push(tally.rate());
            }
        }
    }
    drain(bed).await?;
    let at_rest = verifier.run_on_equals().await?;
    let ratios: Vec<f64> = rates.beside.iter().zip(&rates.undisturbed).map(|(beside, alone)| beside / alone).collect();
    let ours = Measured::new(format!("{} callers beside tandem-verify", args.callers), "sales/s", &rates.beside);
    let peer = Measured::new("undisturbed", "sales/s", &rates.undisturbed);
    let seconds: Vec<f64> = verified.iter().map(|one| one.took.as_secs_f64()).collect();
    let set_aside: Vec<f64> = verified.iter().map(|one| one.set_aside() as f64).collect();
    let row = Comparison::new("V3", Aim::AtLeast, TARGET, &ratios, ours, Some(peer)).map(|row| {
        row.with("checks", verified.len())
            .with("check_seconds", median(&seconds).map(|value| rounded(value, 2)))
            .with("set_aside", median(&set_aside))
            .with("check_seconds_at_rest", rounded(at_rest.took.as_secs_f64(), 2))
    });
    row.iter().for_each(Comparison::tell);
    Ok(row)
}

/// Verifies until everything is written; the last check may end at rest, and counts as little.
async fn again_and_again(verifier: &Verifier, written: &CancellationToken) -> anyhow::Result<Vec<Verified>> {
    let mut verified = Vec::new();
    while !written.is_cancelled() {
        let one = verifier.run_on_equals().await?;
        if !written.is_cancelled() || verified.is_empty() {
            verified.push(one);
        }
    }
    Ok(verified)
}
