//! The same questions as SQL on the base tables, as one would write them who has good indexes and no rollups.

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::super::bed::Bed;
use super::questions::{Answer, Question, TOP_PRODUCTS, in_order};
use crate::postgres::Login;

/// Everything that the questions read of a sale, in the order of time and of sales, so that no table has to be visited.
const INDEXES: [&str; 2] = [
    "create index bench_sale_idx on sales.sales_transaction (transaction_time) \
     include (transaction_id, store_id, total_amount, total_discount)",
    "create index bench_item_idx on sales.sales_item (transaction_id) \
     include (product_code, product_name, category, quantity, total_price)",
];

/// Sorts and hashes of a month's sales stay in memory.
const WORK_MEM: &str = "set work_mem = '256MB'";

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The replica.
    PostgreSql,
    /// Its times are UTC without saying so.
    DuckDb,
}

/// A question as one statement with the columns of [`Figure`](super::questions::Figure).
pub fn statement(question: Question, dialect: Dialect, [start, end]: [DateTime<Utc>; 2]) -> String {
    let before = start - (end - start);
    let moment = |time: DateTime<Utc>| match dialect {
        Dialect::PostgreSql => format!("timestamptz '{}'", time.to_rfc3339_opts(SecondsFormat::Secs, true)),
        Dialect::DuckDb => format!("timestamp '{}'", time.format("%Y-%m-%d %H:%M:%S")),
    };
    let unit = |unit: &str| {
        let truncated = match dialect {
            Dialect::PostgreSql => format!("date_trunc('{unit}', sale.transaction_time, 'UTC')"),
            Dialect::DuckDb => format!("date_trunc('{unit}', sale.transaction_time)"),
        };
        format!("cast(cast(extract(epoch from {truncated}) as bigint) as text)")
    };
    let [first, last] = [if question == Question::Summary { moment(before) } else { moment(start) }, moment(end)];
    let key = match question {
        Question::Summary => format!("case when sale.transaction_time >= {} then '0' else '1' end", moment(start)),
        Question::Daily => unit("day"),
        Question::ByStore => "cast(sale.store_id as text)".to_owned(),
        Question::HourlyByStore => format!("cast(sale.store_id as text) || '|' || {}", unit("hour")),
        Question::TopProducts => return of_products(&first, &last),
    };
    format!(
        "with sale as (
            select {key} as key, transaction_id, total_amount, total_discount
            from sales.sales_transaction as sale
            where transaction_time >= {first} and transaction_time < {last}
        ),
        header as (
            select key, sum(total_amount) as revenue, count(*) as transactions, sum(total_discount) as total_discount
            from sale
            group by key
        ),
        line as (
            select sale.key, cast(sum(item.quantity) as bigint) as items_sold
            from sale
            join sales.sales_item as item on item.transaction_id = sale.transaction_id
            group by sale.key
        )
        select header.key, header.revenue, header.transactions, line.items_sold, header.total_discount
        from header
        join line on line.key = header.key"
    )
}

fn of_products(first: &str, last: &str) -> String {
    format!(
        "select
            item.product_code || '|' || item.product_name || '|' || coalesce(item.category, '') as key,
            sum(item.total_price) as revenue, count(distinct sale.transaction_id) as transactions,
            cast(sum(item.quantity) as bigint) as items_sold, cast(0 as numeric(12, 2)) as total_discount
        from sales.sales_transaction as sale
        join sales.sales_item as item on item.transaction_id = sale.transaction_id
        where sale.transaction_time >= {first} and sale.transaction_time < {last}
        group by item.product_code, item.product_name, item.category
        order by revenue desc, item.product_code
        limit {TOP_PRODUCTS}"
    )
}

/// One connection to the replica, with the query service's role.
#[derive(Debug)]
pub struct BaseTables {
    connection: PgConnection,
    asked: [DateTime<Utc>; 2],
}

impl BaseTables {
    /// Makes the indexes, and connects.
    pub async fn prepare(bed: &mut Bed, asked: [DateTime<Utc>; 2]) -> anyhow::Result<BaseTables> {
        for index in INDEXES {
            bed.execute_on_replica(index).await?;
        }
        bed.execute_on_replica("vacuum (analyze) sales.sales_transaction").await?;
        bed.execute_on_replica("vacuum (analyze) sales.sales_item").await?;
        let mut connection = PgConnection::connect(&bed.pair.url(Login::Query)).await?;
        sqlx::query(WORK_MEM).execute(&mut connection).await?;
        Ok(BaseTables { connection, asked })
    }

    /// Asks; rows are taken apart, as a program would.
    pub async fn ask(&mut self, question: Question) -> anyhow::Result<Answer> {
        let statement = AssertSqlSafe(statement(question, Dialect::PostgreSql, self.asked));
        let answer = sqlx::query_as(statement).fetch_all(&mut self.connection).await;
        answer.with_context(|| format!("the base tables do not answer to {}", question.name()))
    }

    /// In the shape in which answers are compared.
    pub async fn answer(&mut self, question: Question) -> anyhow::Result<Answer> {
        Ok(in_order(self.ask(question).await?))
    }

    /// How the database makes an answer, for who wants to know why it takes as long as it does.
    pub async fn plan(&mut self, question: Question) -> anyhow::Result<String> {
        let statement = statement(question, Dialect::PostgreSql, self.asked);
        let explained = AssertSqlSafe(format!("explain (analyze, costs off) {statement}"));
        let lines: Vec<String> = sqlx::query_scalar(explained).fetch_all(&mut self.connection).await?;
        Ok(lines.join("\n"))
    }
}
