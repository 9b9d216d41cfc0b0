//! `tandem-verify` as it is run, and whether it tells the truth.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::process::Command;

use super::super::answers::Void;
use super::super::bed::Bed;
use super::super::replica_lag::drain;
use super::super::shop::{ITEMS, Sales};
use crate::postgres::Login;

/// A check that has not ended by then is broken and not slow.
const LIMIT_SECONDS: u32 = 600;

/// The program, and whom it is to compare. Rollups are left out: no peer looks at them.
#[derive(Debug)]
pub struct Verifier {
    program: PathBuf,
    primary_url: String,
    replica_url: String,
}

/// What one check said.
#[derive(Debug)]
pub struct Verified {
    /// From its start to its end, all of the process.
    pub took: Duration,
    /// What it printed.
    pub report: Value,
}

impl Verifier {
    /// Of these databases.
    pub fn of(program: PathBuf, bed: &Bed) -> Verifier {
        let url = |login| bed.pair.url(login);
        Verifier { program, primary_url: url(Login::PrimaryAdmin), replica_url: url(Login::ReplicaAdmin) }
    }

    /// Runs it once.
    ///
    /// # Errors
    ///
    /// [`Void`] where it could not check; others where it can't be run.
    pub async fn run(&self) -> anyhow::Result<Verified> {
        let limit = LIMIT_SECONDS.to_string();
        let mut command = Command::new(&self.program);
        command.args(["--skip-rollups", "--output", "json", "--timeout", &limit]);
        command.env("TANDEM_VERIFY_PRIMARY_URL", &self.primary_url);
        command.env("TANDEM_VERIFY_REPLICA_URL", &self.replica_url);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let since = Instant::now();
        let output = command.output().await.context("tandem-verify can't be run")?;
        let took = since.elapsed();
        let report: Value = serde_json::from_slice(&output.stdout).context("tandem-verify printed no JSON")?;
        if report["equal"].is_null() {
            return Err(Void(format!("tandem-verify could not check: {}", report["error"])).into());
        }
        Ok(Verified { took, report })
    }

    /// The same where both sides must be equal.
    ///
    /// # Errors
    ///
    /// [`Void`] where they are not.
    pub async fn run_on_equals(&self) -> anyhow::Result<Verified> {
        let verified = self.run().await?;
        if verified.report["equal"] != true {
            return Err(Void(format!("tandem-verify finds a difference: {}", verified.report)).into());
        }
        Ok(verified)
    }

    /// Answers first: all rows are looked at and equal, one that is spoilt is found, and no other.
    ///
    /// # Errors
    ///
    /// [`Void`] where that is not so.
    pub async fn prove(&self, bed: &mut Bed, sales: &Sales) -> anyhow::Result<()> {
        drain(bed).await?;
        let verified = self.run_on_equals().await?;
        let rows = verified.rows();
        if rows < sales.count * (1 + ITEMS as u64) {
            return Err(Void(format!("tandem-verify looked at {rows} rows only")).into());
        }
        let id = sales.id(sales.count.div_ceil(2));
        add_to_total(&mut bed.replica, id, "0.01").await?;
        let report = self.run().await?.report;
        let found: Vec<&Value> = report["tables"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|table| table["differences"].as_array())
            .flatten()
            .collect();
        let [one] = found.as_slice() else {
            return Err(Void(format!("one row was spoilt, and tandem-verify found {found:?}")).into());
        };
        if one["key"] != id.to_string() || one["columns"] != serde_json::json!(["total_amount"]) {
            return Err(Void(format!("{id} was spoilt, and tandem-verify found {one}")).into());
        }
        add_to_total(&mut bed.replica, id, "-0.01").await?;
        self.run_on_equals().await.map(drop)
    }
}

impl Verified {
    /// How many rows it has compared.
    pub fn rows(&self) -> u64 {
        self.sum("rows")
    }

    /// How many were written meanwhile, and looked at again.
    pub fn set_aside(&self) -> u64 {
        self.sum("set_aside")
    }

    fn sum(&self, of: &str) -> u64 {
        self.report["tables"].as_array().into_iter().flatten().filter_map(|table| table[of].as_u64()).sum()
    }
}

async fn add_to_total(replica: &mut PgConnection, id: uuid::Uuid, what: &str) -> anyhow::Result<()> {
    let spoil = format!(
        "update sales.sales_transaction set total_amount = total_amount + {what} where transaction_id = '{id}'"
    );
    sqlx::query(AssertSqlSafe(spoil)).execute(replica).await.context("a row can't be spoilt")?;
    Ok(())
}
