//! `cargo xtask heal` and its kin: what `tandem-query` and `tandem-migrate` offer an operator, for the running pair.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tandem_upkeep::{Addresses, ApplyArgs, PairAddresses, PlanArgs, ReplicaAddress};

use crate::postgres::ReplicaNumber;
use crate::running::RunState;

/// Which replica of the running pair.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The replica, counted from 1.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(ReplicaNumber::MOST)))]
    replica: u8,
}

impl Which {
    pub(crate) fn number(&self) -> anyhow::Result<ReplicaNumber> {
        ReplicaNumber::new(self.replica)
    }

    pub(crate) fn addresses(&self) -> anyhow::Result<Addresses> {
        let state = RunState::load()?;
        let number = self.number()?;
        Ok(Addresses {
            primary_url: state.primary.admin_url.clone(),
            replica_url: state.replica_of(number)?.server.admin_url,
            subscription: number.subscription(),
        })
    }
}

/// How `heal` is called.
#[derive(Debug, Args)]
pub struct HealCommand {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    heal: tandem_upkeep::HealArgs,
}

/// Gets apply past rows that stand in its way.
pub async fn heal(args: &HealCommand) -> anyhow::Result<ExitCode> {
    Ok(args.heal.run(&args.which.addresses()?).await)
}

/// How `resync` is called.
#[derive(Debug, Args)]
pub struct ResyncCommand {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    resync: tandem_upkeep::ResyncArgs,
}

/// Builds one table anew.
pub async fn resync(args: &ResyncCommand) -> anyhow::Result<ExitCode> {
    Ok(args.resync.run(&args.which.addresses()?).await)
}

/// How `rebuild-replica` is called.
#[derive(Debug, Args)]
pub struct RebuildCommand {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    rebuild: tandem_upkeep::RebuildArgs,
}

/// Builds all tables anew.
pub async fn rebuild(args: &RebuildCommand) -> anyhow::Result<ExitCode> {
    Ok(args.rebuild.run(&args.which.addresses()?).await)
}

/// What `migrate` can do.
#[derive(Debug, Subcommand)]
pub enum Migrate {
    /// Shows the steps, and where each side stands. Exit codes: 0 nothing is left, 1 steps are due, 2 drifted or not readable.
    Plan(PlanArgs),
    /// Carries out the steps that are left, and compares. Exit codes: 0 done and equal, 1 different or not agreed to, 2 could
    /// not be done.
    Apply(ApplyArgs),
}

/// Changes the shape of a published table of the running pair.
pub async fn migrate(migrate: &Migrate) -> anyhow::Result<ExitCode> {
    let state = RunState::load()?;
    let replicas = state
        .replicas()
        .into_iter()
        .map(|replica| ReplicaAddress { url: replica.server.admin_url, subscription: replica.number.subscription() });
    let addresses = PairAddresses { primary_url: state.primary.admin_url.clone(), replicas: replicas.collect() };
    Ok(match migrate {
        Migrate::Plan(args) => args.run(&addresses).await,
        Migrate::Apply(args) => args.run(&addresses).await,
    })
}
