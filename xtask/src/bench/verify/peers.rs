//! What others do to compare two tables: sums over rows, of whatever makes a number of a row, on both sides at once.

use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::super::answers::Void;
use super::super::bed::Bed;
use crate::postgres::Login;

/// As the verifier's own sessions are.
const SESSION: &str = "set max_parallel_workers_per_gather = 0; set jit = off; set timezone = 'UTC'";

/// Tables and their columns.
const TABLES: [(&str, &[(&str, Kind)]); 2] = [
    (
        "sales.sales_transaction",
        &[
            ("transaction_id", Kind::Plain),
            ("transaction_time", Kind::Moment),
            ("cashier_id", Kind::Plain),
            ("store_id", Kind::Plain),
            ("payment_method", Kind::Plain),
            ("total_amount", Kind::Amount),
            ("total_discount", Kind::Amount),
            ("customer_id", Kind::Plain),
            ("created_at", Kind::Moment),
            ("updated_at", Kind::Moment),
            ("version", Kind::Plain),
        ],
    ),
    (
        "sales.sales_item",
        &[
            ("item_id", Kind::Plain),
            ("transaction_id", Kind::Plain),
            ("product_code", Kind::Plain),
            ("product_name", Kind::Plain),
            ("category", Kind::Plain),
            ("quantity", Kind::Plain),
            ("unit_price", Kind::Amount),
            ("discount", Kind::Amount),
            ("total_price", Kind::Amount),
        ],
    ),
];

/// How a column becomes text.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Plain,
    Amount,
    Moment,
}

/// A way to make a number of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// PostgreSQL's own hash of a record, and nothing else.
    BareHash,
    /// MD5 of the columns' text, 60 bits of it, as data-diff has it.
    Md5,
}

impl Way {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Way::BareHash => "bare sums of hash_record_extended",
            Way::Md5 => "sums of MD5, as data-diff does",
        }
    }

    fn statement(self, table: &str, columns: &[(&str, Kind)]) -> String {
        let number = match self {
            Way::BareHash => {
                let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
                format!("hash_record_extended(row({}), 0)", names.join(", "))
            }
            Way::Md5 => {
                let texts: Vec<String> = columns.iter().map(|(name, kind)| text(name, *kind)).collect();
                format!("('x' || substring(md5({}), 18))::bit(60)::bigint", texts.join(" || '|' || "))
            }
        };
        format!("select count(*), sum({number})::text from {table}")
    }
}

fn text(name: &str, kind: Kind) -> String {
    let text = match kind {
        Kind::Plain => format!("{name}::varchar"),
        Kind::Amount => format!("{name}::decimal(38, 2)::varchar"),
        Kind::Moment => format!("to_char({name}::timestamp(6), 'YYYY-mm-dd HH24:MI:SS.US')"),
    };
    format!("coalesce({text}, '<null>')")
}

/// One session on each side.
#[derive(Debug)]
pub struct Peers([PgConnection; 2]);

impl Peers {
    /// Connects.
    ///
    /// # Errors
    ///
    /// A side can't be reached.
    pub async fn connect(bed: &Bed) -> anyhow::Result<Peers> {
        let connect = async |login| {
            let mut connection = PgConnection::connect(&bed.pair.url(login)).await?;
            sqlx::raw_sql(SESSION).execute(&mut connection).await?;
            anyhow::Ok(connection)
        };
        Ok(Peers([connect(Login::PrimaryAdmin).await?, connect(Login::ReplicaAdmin).await?]))
    }

    /// Compares both tables this way.
    ///
    /// # Errors
    ///
    /// [`Void`] where they are not equal.
    pub async fn compare(&mut self, way: Way) -> anyhow::Result<Duration> {
        let since = Instant::now();
        let [primary, replica] = &mut self.0;
        let (primary, replica) = tokio::try_join!(sums(primary, way), sums(replica, way))?;
        let took = since.elapsed();
        if primary != replica {
            return Err(Void(format!("{}: {primary:?} and {replica:?}", way.name())).into());
        }
        Ok(took)
    }
}

async fn sums(connection: &mut PgConnection, way: Way) -> anyhow::Result<Vec<(i64, Option<String>)>> {
    let mut sums = Vec::new();
    for (table, columns) in TABLES {
        let statement = AssertSqlSafe(way.statement(table, columns));
        sums.push(sqlx::query_as(statement).fetch_one(&mut *connection).await.context("rows can't be summed up")?);
    }
    Ok(sums)
}
