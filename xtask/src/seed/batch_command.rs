//! `cargo xtask seed --batch-id`: one batch, from its registration to its files.

use anyhow::{Context, ensure};
use uuid::Uuid;

use super::batch::{BatchReceipt, Batches};
use super::command::{Args, Target, Via, write};
use super::feed;
use super::progress::Outcome;
use crate::terminal::{counted, note};

/// Writes the sales of a batch, unless it is complete already, and its files.
pub(super) async fn run_batch(args: &Args, target: &Target, batch_id: &str) -> anyhow::Result<Outcome> {
    ensure!(
        args.via != Via::Bulk,
        "a bulk load goes past replication and is there on both sides at its end, so there is no batch to wait for: \
         use --via copy, or leave --batch-id out"
    );
    if args.via == Via::Import {
        import_id(batch_id)?;
    }
    let primary = target.primary_url.as_deref();
    let primary = primary.context("batches are registered on the primary: name it with --primary-url")?;
    let mut batches = Batches::connect(primary, batch_id).await?;
    batches.mark_abandoned().await?;
    if let Some(receipt) = batches.completed().await? {
        note(&format!("batch {batch_id} is complete already: no sales are written"));
        return conclude(args, batches, receipt, Outcome::nothing()).await;
    }
    if args.via == Via::Import {
        // The command service registers it.
        let outcome = write(args, target, None).await?;
        if outcome.stopped {
            return Ok(outcome);
        }
        let receipt = batches.completed().await?.context("the command service registers no batches: it is too old")?;
        return conclude(args, batches, BatchReceipt { existed: false, ..receipt }, outcome).await;
    }
    let mut batch = batches.begin().await?;
    match write(args, target, Some(&mut batch)).await {
        Ok(outcome) if outcome.stopped => {
            batch.fail(&format!("stopped after {}", counted(outcome.sales, "sale"))).await?;
            note(&format!("batch {batch_id} is FAILED; what it wrote stays"));
            Ok(outcome)
        }
        Ok(outcome) => {
            let (batches, receipt) = batch.complete().await?;
            conclude(args, batches, receipt, outcome).await
        }
        Err(error) => {
            let failed = batch.fail(&format!("{error:#}")).await;
            Err(match failed {
                Ok(()) => error.context(format!("batch {batch_id} is FAILED; what it wrote stays")),
                Err(silent) => error.context(format!(
                    "batch {batch_id} goes on saying IN_PROGRESS, until the next seed of this id finds that it failed \
                     ({silent:#})"
                )),
            })
        }
    }
}

async fn conclude(
    args: &Args,
    mut batches: Batches,
    mut receipt: BatchReceipt,
    outcome: Outcome,
) -> anyhow::Result<Outcome> {
    if let Some(directory) = &args.csv {
        receipt.files = feed::write(&mut batches, directory).await?;
    }
    batches.close().await?;
    Ok(Outcome { batch: Some(receipt), ..outcome })
}

/// The id of an import, in the one form that its batch has.
pub(super) fn import_id(batch_id: &str) -> anyhow::Result<Uuid> {
    let import_id = batch_id.parse::<Uuid>().ok().filter(|import_id| import_id.to_string() == batch_id);
    import_id
        .context("an import is a batch under its import id: with --via import, --batch-id is a UUID in small letters")
}
