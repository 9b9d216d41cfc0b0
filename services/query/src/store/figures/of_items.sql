-- Figures of items, from the items themselves. A sale counts once in a group, however many of its items are in it.
select
    segment.step as "step!",
    case $1
        when 'store' then sale.store_id::text
        when 'cashier' then sale.cashier_id::text
        when 'payment_method' then sale.payment_method
        when 'category' then coalesce(item.category, '')
        when 'product' then item.product_code
        else ''
    end as "key!",
    sum(item.total_price) as "revenue!",
    count(distinct sale.transaction_id) as "transactions!",
    sum(item.quantity) as "items_sold!",
    sum(item.discount) as "total_discount!"
from unnest($2::integer[], $3::timestamptz[], $4::timestamptz[]) as segment (step, start_time, end_time)
join sales.sales_transaction as sale
    on sale.transaction_time >= segment.start_time and sale.transaction_time < segment.end_time
join sales.sales_item as item on item.transaction_id = sale.transaction_id
where
    (cardinality($5::integer[]) = 0 or sale.store_id = any($5))
    and (cardinality($6::text[]) = 0 or sale.payment_method = any($6))
    and (cardinality($7::text[]) = 0 or item.category = any($7))
group by 1, 2
