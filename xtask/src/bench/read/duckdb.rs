//! DuckDB: the same rows in its own file, the same SQL.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde::Deserialize;
use tokio::process::Command;

use super::super::bed::Bed;
use super::super::shop::{ITEMS, Sales};
use super::questions::{Answer, Figure, Question, in_order};
use super::sql::{Dialect, statement};
use crate::places::build_directory;

/// The release that is measured.
const PACKAGE: &str = "duckdb==2.0.0";

/// How often a question is asked in a round, of which the median counts.
const ASKED: u32 = 5;

/// What its tables hold, in UTC; the questions need no more of a sale.
const COPIES: [(&str, &str); 2] = [
    (
        "sales.csv",
        "copy (select transaction_id, transaction_time at time zone 'UTC', store_id, total_amount, total_discount \
         from sales.sales_transaction order by transaction_time) to stdout (format csv)",
    ),
    (
        "items.csv",
        "copy (select transaction_id, product_code, product_name, category, quantity, total_price \
         from sales.sales_item order by item_id) to stdout (format csv)",
    ),
];

/// A file of DuckDB, and a Python that reads it.
#[derive(Debug)]
pub struct DuckDb {
    python: PathBuf,
    driver: PathBuf,
    database: PathBuf,
    statements: PathBuf,
}

/// What one round of questions gave.
#[derive(Debug, Deserialize)]
pub struct Asked {
    answers: BTreeMap<String, Told>,
    /// Of the whole process, the warm-up included.
    pub cpu_seconds: f64,
    /// The most that was resident.
    pub peak_memory_bytes: u64,
    /// As it tells it.
    pub version: String,
}

#[derive(Debug, Deserialize)]
struct Told {
    milliseconds: f64,
    rows: Vec<[String; 5]>,
}

#[derive(Deserialize)]
struct Loaded {
    items: u64,
}

impl DuckDb {
    /// Installs it into an environment of its own below the build directory, unless it is there, and gives it the replica's
    /// rows. `None` where this machine has no Python that can.
    ///
    /// # Errors
    ///
    /// The rows can't be passed on.
    pub async fn prepare(bed: &mut Bed, sales: &Sales, questions: &[Question]) -> anyhow::Result<Option<DuckDb>> {
        let Some(python) = installed().await? else { return Ok(None) };
        let directory = bed.directory.join("duckdb");
        crate::places::create_directory(&directory, 0o755)?;
        for (file, copy) in COPIES {
            let mut file = File::create(directory.join(file))?;
            let mut rows = bed.replica.copy_out_raw(copy).await?;
            while let Some(bytes) = rows.try_next().await? {
                file.write_all(&bytes)?;
            }
        }
        let duckdb = DuckDb {
            python,
            driver: directory.join("driver.py"),
            database: directory.join("bench.duckdb"),
            statements: directory.join("statements.json"),
        };
        fs::write(&duckdb.driver, include_str!("duckdb.py"))?;
        let asked: [DateTime<Utc>; 2] = sales.asked();
        let named = |question: &Question| (question.name(), statement(*question, Dialect::DuckDb, asked));
        let statements: BTreeMap<_, _> = questions.iter().map(named).collect();
        fs::write(&duckdb.statements, serde_json::to_vec(&statements)?)?;
        let [sales_file, items_file] = COPIES.map(|(file, _)| directory.join(file));
        let loaded: Loaded = serde_json::from_slice(&duckdb.run(&["load".as_ref(), &sales_file, &items_file]).await?)?;
        ensure!(loaded.items == sales.count * ITEMS as u64, "DuckDB holds {} items", loaded.items);
        for file in [sales_file, items_file] {
            fs::remove_file(file)?;
        }
        Ok(Some(duckdb))
    }

    /// Asks every question some times, after once to warm up.
    ///
    /// # Errors
    ///
    /// It fails.
    pub async fn ask(&self) -> anyhow::Result<Asked> {
        let said = self.run(&["ask".as_ref(), &self.statements, ASKED.to_string().as_ref()]).await?;
        serde_json::from_slice(&said).context("what DuckDB's driver says is not understood")
    }

    async fn run(&self, arguments: &[&Path]) -> anyhow::Result<Vec<u8>> {
        let mut command = Command::new(&self.python);
        command.arg(&self.driver).arg(&self.database).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.context("Python can't be run")?;
        ensure!(output.status.success(), "DuckDB failed:\n{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(output.stdout)
    }
}

impl Asked {
    /// Median milliseconds of a question.
    pub fn milliseconds(&self, question: Question) -> f64 {
        self.answers.get(question.name()).map_or(f64::NAN, |told| told.milliseconds)
    }

    /// Calls that its processor time is for.
    pub fn calls(&self) -> u64 {
        self.answers.len() as u64 * u64::from(ASKED + 1)
    }

    /// In the shape in which answers are compared.
    pub fn answer(&self, question: Question) -> anyhow::Result<Answer> {
        let told = self.answers.get(question.name()).context("DuckDB was not asked that")?;
        let figure = |[key, revenue, transactions, items_sold, discount]: &[String; 5]| {
            anyhow::Ok(Figure {
                key: key.clone(),
                revenue: revenue.parse()?,
                transactions: transactions.parse()?,
                items_sold: items_sold.parse()?,
                total_discount: discount.parse()?,
            })
        };
        let figures: anyhow::Result<Answer> = told.rows.iter().map(figure).collect();
        Ok(in_order(figures.context("DuckDB's figures are not understood")?))
    }
}

/// The Python of an environment that has it; `None` where there can be none.
async fn installed() -> anyhow::Result<Option<PathBuf>> {
    let directory = build_directory()?.join("bench-duckdb");
    let python = directory.join("bin").join("python");
    let done = directory.join(PACKAGE);
    if done.is_file() {
        return Ok(Some(python));
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&directory);
    let mut install = Command::new(&python);
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "1",
        "--only-binary",
        ":all:",
        PACKAGE,
    ]);
    for mut command in [make, install] {
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        if !output.is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
    }
    File::create(done)?;
    Ok(Some(python))
}
