//! `cargo xtask heal` and its kin: what `tandem-query` offers an operator, for the running pair.

use std::process::ExitCode;

use clap::Args;
use tandem_upkeep::Addresses;

use crate::postgres::ReplicaNumber;
use crate::running::RunState;

/// Which replica of the running pair.
#[derive(Debug, Args)]
struct Which {
    /// The replica, counted from 1.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(ReplicaNumber::MOST)))]
    replica: u8,
}

impl Which {
    fn addresses(&self) -> anyhow::Result<Addresses> {
        let state = RunState::load()?;
        let number = ReplicaNumber::new(self.replica)?;
        Ok(Addresses {
            primary_url: state.primary.admin_url.clone(),
            replica_url: state.replica_of(number)?.server.admin_url,
            subscription: number.subscription(),
        })
    }
}

/// How `heal` is called.
#[derive(Debug, Args)]
pub struct HealArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    heal: tandem_upkeep::HealArgs,
}

/// Gets apply past rows that stand in its way.
pub async fn heal(args: &HealArgs) -> anyhow::Result<ExitCode> {
    Ok(args.heal.run(&args.which.addresses()?).await)
}

/// How `resync` is called.
#[derive(Debug, Args)]
pub struct ResyncArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    resync: tandem_upkeep::ResyncArgs,
}

/// Builds one table anew.
pub async fn resync(args: &ResyncArgs) -> anyhow::Result<ExitCode> {
    Ok(args.resync.run(&args.which.addresses()?).await)
}

/// How `rebuild-replica` is called.
#[derive(Debug, Args)]
pub struct RebuildArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    rebuild: tandem_upkeep::RebuildArgs,
}

/// Builds all tables anew.
pub async fn rebuild(args: &RebuildArgs) -> anyhow::Result<ExitCode> {
    Ok(args.rebuild.run(&args.which.addresses()?).await)
}
