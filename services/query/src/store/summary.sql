-- Headers and items are summed apart: joined first, a header's total would count once for each of its items.
with sale as (
    select transaction_id, total_amount, total_discount
    from sales.sales_transaction
    where
        transaction_time >= $1
        and transaction_time < $2
        and (cardinality($3::integer[]) = 0 or store_id = any($3))
        and (cardinality($4::text[]) = 0 or payment_method = any($4))
)
select
    coalesce(sum(sale.total_amount), 0) as "revenue!",
    count(*) as "transactions!",
    (
        select coalesce(sum(item.quantity), 0)
        from sales.sales_item as item
        join sale on sale.transaction_id = item.transaction_id
    ) as "items_sold!",
    coalesce(sum(sale.total_discount), 0) as "total_discount!"
from sale
