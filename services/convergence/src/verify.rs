//! A check with what may follow from it: what `tandem-verify` and `cargo xtask verify` do.

use crate::check::check_observed;
use crate::error::CheckError;
use crate::flags::Flags;
use crate::options::Options;
use crate::phase::Phase;
use crate::repair::{Repair, repair};
use crate::report::Report;

/// Repairs in a row: each mends as many rows as a report lists.
const MOST_REPAIRS: usize = 100;

/// Checks, and repairs where that was asked for, and checks again.
///
/// # Errors
///
/// As [`check`](crate::check()).
pub async fn verify(
    primary_url: &str,
    replica_url: &str,
    options: &Options,
    flags: &Flags,
    observe: impl Fn(&Phase) + Sync,
) -> Result<Report, CheckError> {
    let mut report = check_observed(primary_url, replica_url, options, &observe).await?;
    if !flags.repair || report.differences() == 0 {
        return Ok(report);
    }
    let mut carried = Repair::planned(&report);
    if !flags.yes {
        report.repair = Some(carried);
        return Ok(report);
    }
    carried.carried_out = true;
    for _ in 0..MOST_REPAIRS {
        carried.mended += repair(primary_url, replica_url, options, &report, &observe).await?;
        report = check_observed(primary_url, replica_url, options, &observe).await?;
        if report.differences() == 0 {
            break;
        }
    }
    report.repair = Some(carried);
    Ok(report)
}
