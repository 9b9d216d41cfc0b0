//! R1: the same backlog, applied by two replicas of one primary in turn: one as it is, with the query service folding
//! beside it, and one without anything that rollups need.

use std::time::Instant as Clock;

use anyhow::{Context, ensure};
use chrono::{Duration as Span, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tandem_convergence::Options;
use tandem_replication::{ApplyProgress, Lsn};
use tokio::time::{Duration, Instant, sleep};

use super::super::answers::Void;
use super::super::bed::Bed;
use super::super::comparison::{Aim, Comparison, Measured};
use super::super::programs::Programs;
use super::super::service_process::ServiceProcess;
use super::super::shop::{ITEMS, Sales};
use super::super::usage::cluster_cpu_seconds;
use super::Args;
use crate::postgres::{ADMIN_ROLE, DATABASE, Login, ReplicaNumber};

/// Times as fast as without rollups.
const TARGET: f64 = 0.8;

/// A sale and its items.
pub const ROWS_A_SALE: u64 = 1 + ITEMS as u64;

/// Sales that the primary commits at once: what one lane takes of callers, about.
const SALES_A_COMMIT: u64 = 100;

/// Sales are from now on at this distance: a chain that sells a thousand a minute, so that a backlog is of some hours.
const MICROSECONDS_APART: i64 = 60_000;

/// A replica that is not there after this is broken and not slow.
const LIMIT: Duration = Duration::from_secs(600);

/// How long all rows are compared at most.
const COMPARE_LIMIT: Duration = Duration::from_secs(600);

/// Between looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Everything that only rollups need. The index on stores stays, which listings have too.
const WITHOUT_ROLLUPS: &str = "
drop trigger date_anew on sales.sales_transaction;
drop trigger date_anew on sales.sales_item;
drop trigger keep_past_sale on sales.sales_transaction;
drop trigger keep_past_item on sales.sales_item;
drop trigger begin_anew on sales.sales_transaction;
drop trigger begin_anew on sales.sales_item;
alter table sales.sales_transaction drop column applied_xid;
alter table sales.sales_item drop column applied_xid;
";

/// One replica.
struct Side {
    number: ReplicaNumber,
    connection: PgConnection,
    url: String,
    rates: Vec<f64>,
    cpu_seconds: Option<f64>,
}

/// Has both replicas apply the same backlogs in turn.
///
/// # Errors
///
/// [`Void`] where a replica differs from the primary at the end; others where it can't be measured.
pub async fn measure(bed: &mut Bed, programs: &Programs, args: &Args) -> anyhow::Result<Option<Comparison>> {
    let mut sides = Vec::new();
    for number in ReplicaNumber::first(2) {
        sides.push(Side::connect(bed, number).await?);
    }
    let stripped = sqlx::raw_sql(WITHOUT_ROLLUPS).execute(&mut sides[1].connection).await;
    stripped.context("what rollups need can't be dropped")?;
    let mut query = bed.start_query_service(programs, &args.service_env).await?;
    let (mut written, mut service_cpu_seconds, mut folded_after) = (0, 0.0, Vec::new());
    for round in 0..=args.rounds.get() {
        // The first warms up, and tells the planners what the tables hold.
        let sales = if round == 0 { args.sales.get().div_ceil(10) } else { args.sales.get() };
        for side in &mut sides {
            side.execute("disable").await?;
            side.wait_until_stopped(&mut bed.primary).await?;
        }
        let until = write(bed, written, sales).await?;
        written += sales;
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let service_before = query.usage();
            let rate = sides[side].apply(bed, until, sales).await?;
            if side == 0 {
                folded_after.push(wait_until_folded(&mut sides[0].connection, &mut query).await?);
                let used = query.usage().zip(service_before).map(|(now, then)| now.cpu_seconds - then.cpu_seconds);
                service_cpu_seconds += used.unwrap_or_default();
            }
            if round > 0 {
                sides[side].rates.push(rate);
            }
        }
        if round == 0 {
            for connection in sides.iter_mut().map(|side| &mut side.connection).chain([&mut bed.primary]) {
                sqlx::query("analyze").execute(connection).await?;
            }
        }
    }
    compare(bed, &sides).await?;
    Ok(row(args, &sides, service_cpu_seconds, &query, &folded_after[1..]))
}

fn row(
    args: &Args,
    sides: &[Side],
    service_cpu_seconds: f64,
    query: &ServiceProcess,
    folded_after: &[f64],
) -> Option<Comparison> {
    let [with, without] = sides else { return None };
    let ratios: Vec<f64> = with.rates.iter().zip(&without.rates).map(|(with, without)| with / without).collect();
    let rows = args.sales.get() * ROWS_A_SALE * u64::from(args.rounds.get());
    let side =
        |name: String, side: &Side| Measured::new(name, "rows/s", &side.rates).cpu("replica", side.cpu_seconds, rows);
    let ours = side(format!("a backlog of {} sales with rollups", args.sales), with)
        .cpu("service", Some(service_cpu_seconds), rows)
        .memory("service", query.usage().map(|usage| usage.peak_memory_bytes));
    let comparison =
        Comparison::new("R1", Aim::AtLeast, TARGET, &ratios, ours, Some(side("without".to_owned(), without)))?;
    Some(comparison.with("folded_seconds_after_applied", folded_after.to_vec()))
}

/// Writes sales from now on, some a transaction; up to where they are in the WAL.
async fn write(bed: &mut Bed, written: u64, sales: u64) -> anyhow::Result<Lsn> {
    let start = Utc::now() - Span::microseconds(MICROSECONDS_APART * i64::try_from(written)?);
    let plan = Sales { count: sales, start, step: MICROSECONDS_APART };
    let last = written + sales;
    let statement = plan.statement("batch", &format!("least(batch + {SALES_A_COMMIT} - 1, {last})"));
    let block = format!(
        "do $writing$
        begin
            for batch in {}..{last} by {SALES_A_COMMIT} loop
                {statement};
                commit;
            end loop;
        end
        $writing$",
        written + 1,
    );
    // A session of its own, without foreign keys: the statement writes whole sales.
    let mut connection = PgConnection::connect(&bed.pair.url(Login::PrimaryAdmin)).await?;
    sqlx::raw_sql("set session_replication_role = replica; set synchronous_commit = off")
        .execute(&mut connection)
        .await?;
    sqlx::raw_sql(AssertSqlSafe(block)).execute(&mut connection).await.context("the backlog can't be written")?;
    connection.close().await?;
    Ok(sqlx::query_scalar("select pg_current_wal_insert_lsn()").fetch_one(&mut bed.primary).await?)
}

async fn wait_until_folded(replica: &mut PgConnection, query: &mut ServiceProcess) -> anyhow::Result<f64> {
    let since = Clock::now();
    loop {
        let folded: bool = sqlx::query_scalar(
            "select sweep_id is null and folded_xid > 0
                and cardinality(tandem.changed_sales(folded_xid, sweep_xid, sweep_id, 1)) = 0
            from tandem.fold where is_current",
        )
        .fetch_one(&mut *replica)
        .await?;
        if folded {
            return Ok(super::super::statistics::rounded(since.elapsed().as_secs_f64(), 2));
        }
        query.check_alive()?;
        ensure!(since.elapsed() < LIMIT, "sales are not in the rollups after {LIMIT:?}");
        sleep(BETWEEN_LOOKS * 10).await;
    }
}

async fn compare(bed: &Bed, sides: &[Side]) -> anyhow::Result<()> {
    let primary = bed.pair.url(Login::PrimaryAdmin);
    for side in sides {
        let options = Options {
            timeout: COMPARE_LIMIT,
            subscription: side.number.subscription(),
            rollups: side.number == ReplicaNumber::FIRST,
            ..Options::default()
        };
        let report = tandem_convergence::check(&primary, &side.url, &options).await?;
        if !report.equal {
            return Err(Void(format!("{} differs from the primary:\n{report}", side.number.name())).into());
        }
    }
    Ok(())
}

impl Side {
    async fn connect(bed: &Bed, number: ReplicaNumber) -> anyhow::Result<Side> {
        let password = bed.pair.passwords().expose(Login::ReplicaAdmin);
        let url = bed.pair.replica_of(number).url(ADMIN_ROLE, password, DATABASE);
        let connection = PgConnection::connect(&url).await?;
        Ok(Side { number, connection, url, rates: Vec::new(), cpu_seconds: Some(0.0) })
    }

    async fn execute(&mut self, what: &str) -> anyhow::Result<()> {
        let statement = AssertSqlSafe(format!("alter subscription {} {what}", self.number.subscription()));
        sqlx::query(statement).execute(&mut self.connection).await.with_context(|| format!("it can't {what}"))?;
        Ok(())
    }

    async fn wait_until_stopped(&mut self, primary: &mut PgConnection) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIMIT;
        let slot = self.number.subscription();
        while sqlx::query_scalar("select active from pg_replication_slots where slot_name = $1")
            .bind(&slot)
            .fetch_one(&mut *primary)
            .await?
        {
            ensure!(Instant::now() < deadline, "the slot {slot} is still in use");
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(())
    }

    /// From ENABLE until everything is visible; rows a second.
    async fn apply(&mut self, bed: &Bed, until: Lsn, sales: u64) -> anyhow::Result<f64> {
        for cluster in [bed.pair.primary(), bed.pair.replica_of(self.number)] {
            let mut connection = cluster.connect(DATABASE).await?;
            sqlx::query("checkpoint").execute(&mut connection).await?;
        }
        let before = cluster_cpu_seconds(bed.pair.replica_of(self.number));
        let since = Clock::now();
        self.execute("enable").await?;
        let subscription = self.number.subscription();
        loop {
            let progress = ApplyProgress::of(&mut self.connection, &subscription).await?;
            if progress.applied_lsn.unwrap_or_default() >= until {
                break;
            }
            ensure!(since.elapsed() < LIMIT, "{subscription} has not applied {until} after {LIMIT:?}");
            sleep(BETWEEN_LOOKS).await;
        }
        let seconds = since.elapsed().as_secs_f64();
        let after = cluster_cpu_seconds(bed.pair.replica_of(self.number));
        let used = before.zip(after).map(|(before, after)| after - before);
        self.cpu_seconds = self.cpu_seconds.zip(used).map(|(sum, used)| sum + used);
        Ok((sales * ROWS_A_SALE) as f64 / seconds)
    }
}
