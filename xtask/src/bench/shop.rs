//! Sales for measurements of reads: a year of a chain of shops, the same rows on every side.

use anyhow::{Context, ensure};
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tandem_replication::SUBSCRIPTION;
use tokio::time::{Duration, Instant, sleep};
use uuid::Uuid;

use super::bed::Bed;
use crate::postgres::Login;

/// Over how many days sales are spread evenly; the last one ends with yesterday, UTC.
pub const DAYS: i64 = 365;

/// Days that questions are about: the last ones.
pub const ASKED_DAYS: i64 = 30;

/// Items of each sale.
pub const ITEMS: usize = 3;

/// The walsender ends when the apply worker does, at once.
const RELEASE_LIMIT: Duration = Duration::from_secs(30);

/// Between looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Sales in the order of their numbers, from 1: at even distances, with ids that number and time make up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sales {
    /// How many.
    pub count: u64,
    /// When the first was made.
    pub start: DateTime<Utc>,
    /// Microseconds from one to the next.
    pub step: i64,
}

impl Sales {
    /// A year that ends with yesterday.
    pub fn of_a_year(count: u64) -> Sales {
        let midnight = Utc::now().date_naive().and_time(NaiveTime::MIN).and_utc();
        let microseconds = TimeDelta::days(DAYS).num_microseconds().unwrap_or_default();
        let step = (microseconds / i64::try_from(count).unwrap_or(i64::MAX)).max(1);
        Sales { count, start: midnight - TimeDelta::days(DAYS), step }
    }

    /// The days that questions are about.
    pub fn asked(&self) -> [DateTime<Utc>; 2] {
        let end = self.start + TimeDelta::days(DAYS);
        [end - TimeDelta::days(ASKED_DAYS), end]
    }

    /// The id of a sale, as `sales.sql` makes it: a UUID that begins with the time in milliseconds.
    pub fn id(&self, number: u64) -> Uuid {
        let microseconds = self.start.timestamp_micros() + (number as i64 - 1) * self.step;
        let milliseconds = u128::from(microseconds.div_euclid(1_000).unsigned_abs());
        Uuid::from_u128(milliseconds << 80 | 0x7000_8000 << 48 | u128::from(number))
    }

    /// The statement that writes those from one number to another.
    pub fn statement(&self, first: &str, last: &str) -> String {
        include_str!("sales.sql")
            .replace("{first}", first)
            .replace("{last}", last)
            .replace("{start}", &self.start.to_rfc3339())
            .replace("{step}", &self.step.to_string())
    }
}

impl Bed {
    /// Writes the same sales into both sides of an empty pair at once; the stream between them passes them over.
    ///
    /// # Errors
    ///
    /// A side refuses.
    pub async fn fill(&mut self, sales: &Sales) -> anyhow::Result<()> {
        self.stop_stream().await?;
        let statement = sales.statement("1", &sales.count.to_string());
        let [primary, replica] = [Login::PrimaryAdmin, Login::ReplicaAdmin].map(|login| self.pair.url(login));
        tokio::try_join!(load(&primary, &statement), load(&replica, &statement))?;
        sqlx::query("select pg_replication_slot_advance($1, pg_current_wal_insert_lsn())")
            .bind(SUBSCRIPTION)
            .execute(&mut self.primary)
            .await
            .context("the slot can't be moved on")?;
        self.execute_on_replica("alter subscription tandem_subscription enable").await?;
        // The slot may have passed over the first watermark, and later ones would update a row that the replica does not
        // have: the next one is to be an insert.
        sqlx::query("delete from tandem.watermark")
            .execute(&mut self.primary)
            .await
            .context("the watermark can't be taken away")?;
        for (connection, side) in [(&mut self.primary, "primary"), (&mut self.replica, "replica")] {
            let vacuum = "vacuum (analyze) sales.sales_transaction, sales.sales_item";
            sqlx::query(vacuum)
                .execute(&mut *connection)
                .await
                .with_context(|| format!("the {side} is not vacuumed"))?;
            let count: i64 = sqlx::query_scalar("select count(*) from sales.sales_item").fetch_one(connection).await?;
            ensure!(count.unsigned_abs() == sales.count * ITEMS as u64, "the {side} holds {count} items");
        }
        Ok(())
    }

    async fn stop_stream(&mut self) -> anyhow::Result<()> {
        self.execute_on_replica("alter subscription tandem_subscription disable").await?;
        let deadline = Instant::now() + RELEASE_LIMIT;
        loop {
            let active: bool = sqlx::query_scalar("select active from pg_replication_slots where slot_name = $1")
                .bind(SUBSCRIPTION)
                .fetch_one(&mut self.primary)
                .await?;
            if !active {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the slot is still in use");
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// As administrator.
    ///
    /// # Errors
    ///
    /// The replica refuses.
    pub async fn execute_on_replica(&mut self, statement: &str) -> anyhow::Result<()> {
        let executed = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut self.replica).await;
        executed.map(drop).with_context(|| format!("the replica refused: {statement}"))
    }
}

/// Foreign keys are not asked: the statement writes whole sales.
async fn load(url: &str, statement: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let statement = format!("set session_replication_role = replica; set work_mem = '256MB'; {statement}");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.context("the sales can't be written")?;
    Ok(connection.close().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_begin_with_the_time_and_end_with_the_number() {
        let sales =
            Sales { count: 10, start: DateTime::from_timestamp_millis(0x0123_4567_89ab).unwrap(), step: 1_000_000 };
        assert_eq!(sales.id(1).to_string(), "01234567-89ab-7000-8000-000000000001");
        assert_eq!(sales.id(17).to_string(), "01234567-c82b-7000-8000-000000000011");
    }

    #[test]
    fn a_year_of_sales_ends_with_yesterday_and_questions_are_about_its_end() {
        let sales = Sales::of_a_year(1_000);
        let [start, end] = sales.asked();
        assert_eq!((end - start).num_days(), 30);
        assert!(end <= Utc::now() && Utc::now() - end < TimeDelta::days(1) + TimeDelta::hours(1));
        assert!(sales.start + TimeDelta::microseconds(sales.step * 999) < end);
    }
}
