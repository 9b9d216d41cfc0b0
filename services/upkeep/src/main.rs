//! `tandem-migrate`: changes the shape of published tables on a primary and its replicas, and which of them is the primary.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tandem_replication::SUBSCRIPTION;
use tandem_upkeep::{Addresses, ApplyArgs, FAILED, PairAddresses, PlanArgs, PromoteArgs, ReplicaAddress};

/// A column of a published table comes or goes, on both sides in the right order, under load; a replica takes its primary's
/// place.
///
/// A column comes on the replicas first, then on the primary, then it is published; it goes in the reverse order. Old rows are
/// filled a few at a time. Which steps are done is read from the databases: run again after it was cut off, it goes on.
#[derive(Debug, Parser)]
#[command(name = "tandem-migrate", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

const AFTER_HELP: &str = "A change is a TOML file:

  table = \"sales.sales_item\"
  column = \"origin\"
  type = \"text\"
  default = \"'unknown'\"                          # for new rows, while nobody sends it
  backfill = \"case when category is null then 'old' else category end\"   # for old rows

`apply --change FILE` brings the column; `apply --change FILE --contract` takes it away.";

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the steps, and where each side stands. Exit codes: 0 nothing is left, 1 steps are due, 2 drifted or not readable.
    Plan {
        #[command(flatten)]
        pair: Pair,
        #[command(flatten)]
        plan: PlanArgs,
    },
    /// Carry out the steps that are left, and compare. Exit codes: 0 done and equal, 1 different or not agreed to, 2 could
    /// not be done.
    Apply {
        #[command(flatten)]
        pair: Pair,
        #[command(flatten)]
        apply: ApplyArgs,
    },
    /// Turn a replica into the primary: lock writers out, wait until the replica has everything, prove it, turn it.
    ///
    /// Shows what it will do, and asks. Nothing that was acknowledged is lost; a retry with its request id is answered as before.
    /// Cut off at any moment it goes on when it is run again, or is given up with --give-up. Exit codes: 0 the replica is the
    /// primary, 1 the databases differ or nobody agreed, 2 could not be done.
    Promote {
        #[command(flatten)]
        pair: Pair,
        #[command(flatten)]
        promote: PromoteArgs,
    },
}

/// Where the databases are.
#[derive(Debug, Args)]
struct Pair {
    /// The primary, as postgres://user:password@host:port/database; its administrator.
    #[arg(long, env = "TANDEM_MIGRATE_PRIMARY_URL", hide_env_values = true)]
    primary_url: String,
    /// A replica, in the same form; once for each replica of the primary.
    #[arg(long, env = "TANDEM_MIGRATE_REPLICA_URL", hide_env_values = true, value_delimiter = ',', required = true)]
    replica_url: Vec<String>,
    /// Each replica's subscription, in the same order.
    #[arg(long, env = "TANDEM_SUBSCRIPTION", value_delimiter = ',', default_value = SUBSCRIPTION)]
    subscription: Vec<String>,
}

impl Pair {
    fn addresses(self) -> Result<PairAddresses, String> {
        let (urls, subscriptions) = (self.replica_url, self.subscription);
        if urls.len() != subscriptions.len() {
            return Err(format!(
                "{} replicas and {} subscriptions: name one for each",
                urls.len(),
                subscriptions.len()
            ));
        }
        let replicas = urls.into_iter().zip(subscriptions);
        let replicas = replicas.map(|(url, subscription)| ReplicaAddress { url, subscription }).collect();
        Ok(PairAddresses { primary_url: self.primary_url, replicas })
    }

    /// The one replica that was named.
    fn only(self) -> Result<Addresses, String> {
        let PairAddresses { primary_url, mut replicas } = self.addresses()?;
        match (replicas.pop(), replicas.is_empty()) {
            (Some(ReplicaAddress { url, subscription }), true) => {
                Ok(Addresses { primary_url, replica_url: url, subscription })
            }
            _ => Err("name the one replica that is to be the primary".to_owned()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().action {
        Action::Plan { pair, plan } => match pair.addresses() {
            Ok(addresses) => Ok(plan.run(&addresses).await),
            Err(error) => Err(error),
        },
        Action::Apply { pair, apply } => match pair.addresses() {
            Ok(addresses) => Ok(apply.run(&addresses).await),
            Err(error) => Err(error),
        },
        Action::Promote { pair, promote } => match pair.only() {
            Ok(addresses) => Ok(promote.run(&addresses).await),
            Err(error) => Err(error),
        },
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(FAILED)
    })
}
