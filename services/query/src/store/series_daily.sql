-- Headers and items are summed apart: joined first, a header's total would count once for each of its items.
with sale as (
    select transaction_id, date_trunc('day', transaction_time, 'UTC') as day, total_amount, total_discount
    from sales.sales_transaction
    where
        transaction_time >= $1
        and transaction_time < $2
        and (cardinality($3::integer[]) = 0 or store_id = any($3))
        and (cardinality($4::text[]) = 0 or payment_method = any($4))
),
header as (
    select day, sum(total_amount) as revenue, count(*) as transactions, sum(total_discount) as total_discount
    from sale
    group by day
),
line as (
    select sale.day, sum(item.quantity) as items_sold
    from sale
    join sales.sales_item as item on item.transaction_id = sale.transaction_id
    group by sale.day
)
select
    step.day at time zone 'UTC' as "start!",
    coalesce(header.revenue, 0) as "revenue!",
    coalesce(header.transactions, 0) as "transactions!",
    coalesce(line.items_sold, 0) as "items_sold!",
    coalesce(header.total_discount, 0) as "total_discount!"
from generate_series(
    date_trunc('day', $1::timestamptz at time zone 'UTC'),
    -- The range is half-open: a day that it only touches with its end is not in it.
    ($2::timestamptz - interval '1 microsecond') at time zone 'UTC',
    interval '1 day'
) as step (day)
left join header on header.day = step.day at time zone 'UTC'
left join line on line.day = step.day at time zone 'UTC'
order by step.day
