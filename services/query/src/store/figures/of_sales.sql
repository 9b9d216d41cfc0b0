-- Figures of whole sales, from the sales themselves. Headers and items are summed apart: joined first, a header's total
-- would count once for each of its items.
with sale as (
    select
        segment.step,
        case $1
            when 'store' then store_id::text
            when 'cashier' then cashier_id::text
            when 'payment_method' then payment_method
            else ''
        end as key,
        transaction_id, total_amount, total_discount
    from unnest($2::integer[], $3::timestamptz[], $4::timestamptz[]) as segment (step, start_time, end_time)
    join sales.sales_transaction on transaction_time >= segment.start_time and transaction_time < segment.end_time
    where
        (cardinality($5::integer[]) = 0 or store_id = any($5))
        and (cardinality($6::text[]) = 0 or payment_method = any($6))
),
header as (
    select step, key, sum(total_amount) as revenue, count(*) as transactions, sum(total_discount) as total_discount
    from sale
    group by step, key
),
line as (
    select sale.step, sale.key, sum(item.quantity) as items_sold
    from sale
    join sales.sales_item as item on item.transaction_id = sale.transaction_id
    group by sale.step, sale.key
)
select
    header.step as "step!",
    header.key as "key!",
    header.revenue as "revenue!",
    header.transactions as "transactions!",
    coalesce(line.items_sold, 0) as "items_sold!",
    header.total_discount as "total_discount!"
from header
left join line on line.step = header.step and line.key = header.key
