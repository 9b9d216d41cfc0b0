//! The run from its builds to its last proof.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use super::super::answers::Void;
use super::super::bed::{Bed, DATABASES};
use super::super::comparison::{Aim, Comparison, Findings, PLAN};
use super::super::disk::fdatasyncs_per_second;
use super::super::machine::{self, Machine, Run};
use super::super::pgbench::Pgbench;
use super::super::programs::Programs;
use super::super::replica_lag::drain;
use super::super::service_process::ServiceProcess;
use super::super::shop::{ASKED_DAYS, DAYS, Sales};
use super::super::statistics::rounded;
use super::arguments::{Args, RowId};
use super::duckdb::DuckDb;
use super::figures::{Compared, Side, compare};
use super::lookups;
use super::questions::{Caller, Question};
use super::sql::BaseTables;
use super::visible;
use crate::postgres::{DATABASE, Login};
use crate::terminal;

/// A folder that has not taken everything in after this is broken and not slow: a million sales take minutes.
const FOLD_LIMIT: Duration = Duration::from_secs(1_800);

/// Between looks at the folder.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// As the query service numbers its advisory locks on generations of rollups: "fold" in ASCII.
const FOLD_LOCKS: i32 = 0x666f_6c64;

/// Redraws the clock.
const TICK: Duration = Duration::from_millis(200);

/// Rows Q1 to Q4: their questions and targets.
const Q1: Compared<'_> = Compared { id: "Q1", aim: Aim::AtLeast, target: 100.0, questions: &Question::OF_A_DASHBOARD };
const Q2: Compared<'_> = Compared { id: "Q2", aim: Aim::AtLeast, target: 15.0, questions: &[Question::HourlyByStore] };
const Q3: Compared<'_> = Compared { id: "Q3", target: 2.0, ..Q1 };
const Q4: Compared<'_> = Compared { id: "Q4", aim: Aim::AtMost, target: 1.3, ..Q1 };

/// A bed with sales and the query service.
pub struct Shop {
    // Stands before the bed, so that the service ends before its database does.
    /// What is asked.
    pub query: ServiceProcess,
    /// The databases and the command service.
    pub bed: Bed,
    /// What both databases held before anybody wrote.
    pub sales: Sales,
}

/// Measures.
///
/// # Errors
///
/// [`Void`] where an answer was wrong; others where it could not be run.
pub async fn run(args: &Args) -> anyhow::Result<Findings> {
    let load_before = machine::load();
    let progress = progress();
    progress.set_message("building");
    let programs = match &args.bin_dir {
        Some(directory) => Programs::built(directory)?,
        None => Programs::build(args.profile).await?,
    };
    progress.set_message(format!("writing {} sales into both databases", args.sales));
    let shop = Shop::open(&programs, args.sales, args, &progress).await?;
    let installation = shop.bed.pair.primary().installation();
    let fdatasyncs_per_second = fdatasyncs_per_second(installation, &shop.bed.directory).await?;
    let machine = Machine::of(Run {
        postgresql: installation.version,
        pgbench: Pgbench::prepare(&shop.bed)?.version(),
        profile: if args.bin_dir.is_some() { "given" } else { args.profile.name() },
        load_before,
        fdatasyncs_per_second: rounded(fdatasyncs_per_second, 0),
        settings: json!({
            "rounds": args.rounds, "sales": args.sales, "days": DAYS, "asked_days": ASKED_DAYS, "stores": 50,
            "products": 200, "items_a_sale": 3, "seconds": args.seconds, "databases": DATABASES,
            "service": args.service_env.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        }),
    });
    let mut runner = Runner { args, programs, shop, progress, wanted: args.rows.iter().copied().collect() };
    let rows = runner.rows().await?;
    runner.progress.finish_and_clear();
    Ok(Findings { machine, rows })
}

fn progress() -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{spinner} {elapsed}  {msg}");
    bar.set_style(style.expect("the template is a constant that parses"));
    bar.enable_steady_tick(TICK);
    bar
}

impl Shop {
    /// Starts everything, writes the sales, and waits until they are in the rollups.
    async fn open(programs: &Programs, sales: u64, args: &Args, progress: &ProgressBar) -> anyhow::Result<Shop> {
        let sales = Sales::of_a_year(sales);
        let mut bed = Bed::start(programs, &[]).await?;
        bed.fill(&sales).await?;
        let query = bed.start_query_service(programs, &args.service_env).await?;
        let mut shop = Shop { query, bed, sales };
        progress.set_message(format!("waiting until {} sales are in the rollups", sales.count));
        shop.wait_until_folded().await?;
        shop.bed.execute_on_replica("vacuum (analyze) tandem.rollup").await?;
        shop.bed.checkpoint().await?;
        Ok(shop)
    }

    /// Waits until the rollups hold every sale that is there.
    pub async fn wait_until_folded(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + FOLD_LIMIT;
        loop {
            let folded: Option<bool> = sqlx::query_scalar(
                "select sweep_id is null and folded_xid > 0
                    and cardinality(tandem.changed_sales(folded_xid, sweep_xid, sweep_id, 1)) = 0
                from tandem.fold where is_current",
            )
            .fetch_one(&mut self.bed.replica)
            .await?;
            if folded == Some(true) {
                return Ok(());
            }
            self.query.check_alive()?;
            ensure!(Instant::now() < deadline, "sales are not in the rollups after {FOLD_LIMIT:?}");
            sleep(BETWEEN_LOOKS).await;
        }
    }
}

/// Measures row by row.
struct Runner<'a> {
    args: &'a Args,
    programs: Programs,
    shop: Shop,
    progress: ProgressBar,
    wanted: BTreeSet<RowId>,
}

impl Runner<'_> {
    fn wants(&self, rows: &[RowId]) -> bool {
        rows.iter().any(|row| self.wanted.contains(row))
    }

    /// Each row is told once it is measured, too: what comes after it may fail.
    async fn rows(&mut self) -> anyhow::Result<Vec<Comparison>> {
        let mut rows = Vec::new();
        if self.wants(&[RowId::Q1, RowId::Q2, RowId::Q3, RowId::Q4]) {
            let mut base_tables = BaseTables::prepare(&mut self.shop.bed, self.shop.sales.asked()).await?;
            if self.wants(&[RowId::Q1, RowId::Q3, RowId::Q4]) {
                rows.extend(self.dashboard(&mut base_tables).await?);
                rows.iter().for_each(Comparison::tell);
            }
            if self.wants(&[RowId::Q2]) {
                let row = self.hourly(&mut base_tables).await?;
                row.iter().for_each(Comparison::tell);
                let at = rows.iter().position(|row: &Comparison| row.id > "Q2").unwrap_or(rows.len());
                rows.splice(at..at, row);
            }
        }
        if self.wants(&[RowId::Q5]) {
            self.progress.set_message("Q5: single sales");
            let Args { callers, seconds, rounds, .. } = self.args;
            let row = lookups::measure(&mut self.shop, *callers, *seconds, rounds.get()).await?;
            row.iter().for_each(Comparison::tell);
            rows.extend(row);
        }
        if self.wants(&[RowId::L1]) {
            self.progress.set_message("L1: from a commit until it is visible");
            let Args { callers, commits, rounds, .. } = self.args;
            rows.extend(visible::measure(&mut self.shop, *callers, *commits, rounds.get()).await?);
        }
        Ok(rows)
    }

    /// Q1, Q3 and Q4, which ask the same of three others.
    async fn dashboard(&mut self, base_tables: &mut BaseTables) -> anyhow::Result<Vec<Comparison>> {
        let questions = &Question::OF_A_DASHBOARD;
        self.check(base_tables, questions).await?;
        let duckdb = self.duckdb(base_tables, questions).await?;
        let mut version = None;
        let mut tenth = self.tenth().await?;
        let [mut ours, mut base, mut duck, mut small] = [(); 4].map(|()| Side::default());
        let rounds = self.args.rounds.get();
        for round in 1..=rounds {
            self.progress.set_message(format!("30 days: round {round} of {rounds}"));
            ours.ask_service(&mut self.shop, questions).await?;
            if let Some(tenth) = &mut tenth {
                small.ask_service(tenth, questions).await?;
            }
            if self.wants(&[RowId::Q1]) {
                base.ask_base_tables(&self.shop, base_tables, questions).await?;
            }
            if let Some(duckdb) = &duckdb {
                version = Some(duck.ask_duckdb(duckdb, questions).await?.version);
            }
        }
        let count = self.shop.sales.count;
        let name = format!("four questions, {count} sales");
        let rows = [
            (RowId::Q1, Q1.row((&ours, &name), (&base, "SQL on base tables", "service"))),
            (RowId::Q3, Q3.row((&ours, &name), (&duck, "DuckDB", "duckdb")).map(|row| row.with("duckdb", version))),
            (RowId::Q4, Q4.row((&ours, &name), (&small, &format!("{} sales", count / 10), "service"))),
        ];
        let mut comparisons = Vec::new();
        for (row, comparison) in rows {
            if self.wants(&[row]) {
                comparisons.extend(comparison);
            }
        }
        if let Some(row) = comparisons.iter_mut().find(|row| row.id == "Q1") {
            for question in questions {
                let plan = base_tables.plan(*question).await?;
                row.detail.further.insert(question.name(), json!({PLAN: plan}));
            }
        }
        Ok(comparisons)
    }

    /// All answers once, before anything is measured.
    async fn check(&mut self, base_tables: &mut BaseTables, questions: &[Question]) -> anyhow::Result<()> {
        self.progress.set_message("comparing answers");
        let mut caller = Caller::connect(self.shop.query.address, self.shop.sales.asked()).await?;
        for question in questions {
            let response = caller.ask(*question).await?;
            let ours = caller.answer(response)?;
            compare(*question, &ours, &base_tables.answer(*question).await?, "SQL on the base tables")?;
        }
        Ok(())
    }

    /// DuckDB, once its answers are those of the base tables.
    async fn duckdb(&mut self, base_tables: &mut BaseTables, questions: &[Question]) -> anyhow::Result<Option<DuckDb>> {
        if !self.wants(&[RowId::Q3]) {
            return Ok(None);
        }
        self.progress.set_message("loading DuckDB");
        let Some(duckdb) = DuckDb::prepare(&mut self.shop.bed, &self.shop.sales, questions).await? else {
            terminal::note("Q3 is left out: this machine has no python3 that can install DuckDB");
            return Ok(None);
        };
        let asked = duckdb.ask().await?;
        for question in questions {
            compare(*question, &base_tables.answer(*question).await?, &asked.answer(*question)?, "DuckDB")?;
        }
        Ok(Some(duckdb))
    }

    /// A pair with a tenth of the sales, beside.
    async fn tenth(&mut self) -> anyhow::Result<Option<Shop>> {
        if !self.wants(&[RowId::Q4]) {
            return Ok(None);
        }
        self.progress.set_message("writing a tenth of the sales into another pair");
        let shop = Shop::open(&self.programs, self.shop.sales.count / 10, self.args, &self.progress).await?;
        Ok(Some(shop))
    }

    /// Q2: nobody folds, and a tail of sales waits for it.
    async fn hourly(&mut self, base_tables: &mut BaseTables) -> anyhow::Result<Option<Comparison>> {
        let questions = Q2.questions;
        let tail = self.args.tail.get();
        self.progress.set_message(format!("Q2: {tail} sales that are not in the rollups"));
        let mut holder = PgConnection::connect(&self.shop.bed.pair.url(Login::ReplicaAdmin)).await?;
        self.stop_folding(&mut holder).await?;
        self.write_tail(tail).await?;
        self.check(base_tables, questions).await?;
        let (mut ours, mut base) = (Side::default(), Side::default());
        for _ in 0..self.args.rounds.get() {
            ours.ask_service(&mut self.shop, questions).await?;
            base.ask_base_tables(&self.shop, base_tables, questions).await?;
        }
        let changed: i64 = sqlx::query_scalar(
            "select cardinality(tandem.changed_sales(folded_xid, sweep_xid, sweep_id, 1000000))::bigint
            from tandem.fold where is_current",
        )
        .fetch_one(&mut self.shop.bed.replica)
        .await?;
        if changed.unsigned_abs() < tail {
            return Err(Void(format!("of {tail} sales {changed} were not in the rollups at the end")).into());
        }
        holder.close().await?;
        let name = format!("hours by store, {tail} sales not folded");
        let row = Q2.row((&ours, &name), (&base, "SQL on base tables", "service"));
        Ok(row.map(|row| row.with("sales_not_in_rollups", changed)))
    }

    /// Takes the lock of those who fold from the service: it answers, and waits for the lock.
    async fn stop_folding(&mut self, holder: &mut PgConnection) -> anyhow::Result<()> {
        self.shop.wait_until_folded().await?;
        let ended = sqlx::query_scalar::<_, bool>(
            "select pg_terminate_backend(pid) from pg_locks
            where locktype = 'advisory' and classid::bigint = $1
                and database = (select oid from pg_database where datname = $2)",
        );
        // Whoever comes back within the moment loses: the lock is waited for.
        ended.bind(i64::from(FOLD_LOCKS)).bind(DATABASE).fetch_all(&mut self.shop.bed.replica).await?;
        sqlx::query("select pg_advisory_lock($1, generation) from tandem.fold where is_current")
            .bind(FOLD_LOCKS)
            .execute(holder)
            .await
            .context("the folder's lock can't be taken")?;
        Ok(())
    }

    /// Writes sales on the primary, spread over the days that are asked about, and waits until the replica has them.
    async fn write_tail(&mut self, tail: u64) -> anyhow::Result<()> {
        let [start, end] = self.shop.sales.asked();
        let span = (end - start).num_microseconds().unwrap_or_default();
        let step = span / i64::try_from(tail).unwrap_or(i64::MAX);
        // Their numbers go on where the others' end, and so do not begin with 1.
        let first = self.shop.sales.count + 1;
        let earlier = i64::try_from(self.shop.sales.count).unwrap_or(i64::MAX).saturating_mul(step);
        let late = Sales { count: tail, start: start - TimeDelta::microseconds(earlier), step };
        let statement = late.statement(&first.to_string(), &(first + tail - 1).to_string());
        let written = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut self.shop.bed.primary).await;
        written.context("the late sales can't be written")?;
        drain(&mut self.shop.bed).await?;
        Ok(())
    }
}
