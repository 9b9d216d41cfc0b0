//! The same figures by plain SQL over the base tables of the primary, whose own time zones cut them.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{AssertSqlSafe, PgConnection};
use tandem_proto::sales::query::v1::{Dimension, SalesFilter, TimeRange};
use tandem_proto::time::from_timestamp;

/// Key, start of the step, revenue, sales, items sold, discount.
pub type Row = (String, Option<DateTime<Utc>>, Decimal, i64, i64, Decimal);

/// A range as the primary understands it.
#[derive(Clone, Debug)]
pub struct Moments {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    pub zone: String,
}

/// What a range that was asked for means.
pub async fn moments(primary: &mut PgConnection, range: &TimeRange) -> Moments {
    let zone = if range.time_zone.is_empty() { "UTC".to_owned() } else { range.time_zone.clone() };
    let (start, end) = if range.start_date.is_empty() {
        (from_timestamp(range.start_time.unwrap()).unwrap(), from_timestamp(range.end_time.unwrap()).unwrap())
    } else {
        let sql = "select $1::text::timestamp at time zone $3, $2::text::timestamp at time zone $3";
        let query = sqlx::query_as(sql).bind(&range.start_date).bind(&range.end_date).bind(&zone);
        query.fetch_one(primary).await.unwrap()
    };
    Moments { start, end, zone }
}

/// The period before: as many local days where both ends are where local days begin, else as long.
pub async fn previous(primary: &mut PgConnection, range: &Moments) -> Moments {
    let sql = "
        with local as (
            select ($1 at time zone $3)::date as first, ($2 at time zone $3)::date as behind
        )
        select
            case when date_trunc('day', $1, $3) = $1 and date_trunc('day', $2, $3) = $2
                    and (first - (behind - first))::timestamp at time zone $3 < $1
                then (first - (behind - first))::timestamp at time zone $3
                else $1 - ($2 - $1)
            end
        from local";
    let query =
        sqlx::query_scalar(AssertSqlSafe(sql.replace("$1", "$1::timestamptz").replace("$2", "$2::timestamptz")));
    let start = query.bind(range.start).bind(range.end).bind(&range.zone).fetch_one(primary).await.unwrap();
    Moments { start, end: range.start, zone: range.zone.clone() }
}

/// How a dimension reads in SQL.
pub const fn key(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Unspecified => "''",
        Dimension::Store => "s.store_id::text",
        Dimension::Cashier => "s.cashier_id::text",
        Dimension::Category => "coalesce(i.category, '')",
        Dimension::PaymentMethod => "s.payment_method",
        Dimension::WeekdayHour => {
            "to_char(s.transaction_time at time zone $3, 'ID') || ' ' ||
             extract(hour from s.transaction_time at time zone $3)"
        }
    }
}

/// Figures by key and by step of `unit`, which is `None` for one step. Of items, where the key or the filter is one of theirs.
pub async fn figures(
    primary: &mut PgConnection,
    range: &Moments,
    filter: &SalesFilter,
    key: &str,
    unit: Option<&str>,
) -> Vec<Row> {
    let step =
        unit.map_or("null::timestamptz".to_owned(), |unit| format!("date_trunc('{unit}', s.transaction_time, $3)"));
    let of_items = key.contains("i.") || !filter.categories.is_empty();
    let (revenue, count, discount, from) = if of_items {
        let from = "sales.sales_transaction s join sales.sales_item i on i.transaction_id = s.transaction_id";
        ("i.total_price", "count(distinct s.transaction_id)", "i.discount", from)
    } else {
        let from = "sales.sales_transaction s cross join lateral (
            select sum(quantity) as quantity from sales.sales_item where transaction_id = s.transaction_id
        ) i";
        ("s.total_amount", "count(*)", "s.total_discount", from)
    };
    let categories =
        if of_items { "(cardinality($6::text[]) = 0 or i.category = any($6))" } else { "$6::text[] is not null" };
    let sql = format!(
        "select {key}, {step}, sum({revenue}), {count}, sum(i.quantity)::bigint, sum({discount})
        from {from}
        where s.transaction_time >= $1 and s.transaction_time < $2 and $3::text is not null
            and (cardinality($4::integer[]) = 0 or s.store_id = any($4))
            and (cardinality($5::text[]) = 0 or s.payment_method = any($5))
            and {categories}
        group by 1, 2"
    );
    sqlx::query_as(AssertSqlSafe(sql))
        .bind(range.start)
        .bind(range.end)
        .bind(&range.zone)
        .bind(&filter.store_ids)
        .bind(&filter.payment_methods)
        .bind(&filter.categories)
        .fetch_all(primary)
        .await
        .unwrap()
}

/// The first moments of all steps that a range touches, in order.
pub async fn steps(primary: &mut PgConnection, range: &Moments, unit: &str) -> Vec<DateTime<Utc>> {
    // No step that lies in the range as a whole is shorter than half an hour.
    let sql = "
        select distinct date_trunc($4, moment, $3) from (
            select generate_series($1::timestamptz, $2::timestamptz - interval '1 microsecond', '15 minutes') as moment
            union all
            select $2::timestamptz - interval '1 microsecond'
        ) as seen
        order by 1";
    let query = sqlx::query_scalar(sql).bind(range.start).bind(range.end).bind(&range.zone).bind(unit);
    query.fetch_all(primary).await.unwrap()
}

/// The steps that these moments lie in.
pub async fn steps_of(
    primary: &mut PgConnection,
    moments: &[DateTime<Utc>],
    zone: &str,
    unit: &str,
) -> Vec<DateTime<Utc>> {
    let sql =
        "select date_trunc($3, moment, $2) from unnest($1::timestamptz[]) with ordinality as asked (moment, place)
        order by place";
    sqlx::query_scalar(sql).bind(moments).bind(zone).bind(unit).fetch_all(primary).await.unwrap()
}

/// Name and category on the newest sale of a product.
pub async fn label(primary: &mut PgConnection, product_code: &str) -> (String, Option<String>) {
    let sql = "select i.product_name, i.category
        from sales.sales_item i join sales.sales_transaction s on s.transaction_id = i.transaction_id
        where i.product_code = $1
        order by s.transaction_time desc, i.item_id desc
        limit 1";
    sqlx::query_as(sql).bind(product_code).fetch_one(primary).await.unwrap()
}
