-- What products are called, by what the rollups know of their newest sales and by the sales that have changed since. A
-- product whose newest sale looks otherwise now than when it was taken in is not among them.
with newest as (
    -- Still the newest of all that were taken in: it is as it was, and none was newer.
    select item.product_code, item.product_name, item.category, sale.transaction_time, item.item_id
    from tandem.product as product
    join sales.sales_item as item on item.item_id = product.item_id and item.product_code = product.product_code
    join sales.sales_transaction as sale
        on sale.transaction_id = item.transaction_id and sale.transaction_time = product.transaction_time
    where product.product_code = any($1)
)
select distinct on (candidate.product_code)
    candidate.product_code as "product_code!",
    candidate.product_name as "product_name!",
    candidate.category as "category?"
from (
    select product_code, product_name, category, transaction_time, item_id from newest
    union all
    select item.product_code, item.product_name, item.category, sale.transaction_time, item.item_id
    from unnest($2::uuid[]) as changed (transaction_id)
    join sales.sales_transaction as sale on sale.transaction_id = changed.transaction_id
    join sales.sales_item as item on item.transaction_id = sale.transaction_id
    -- One that only sales of late have was not taken in, or is no longer what it was: all its sales are looked at.
    where item.product_code = any($1) and item.product_code in (select product_code from newest)
) as candidate
order by candidate.product_code, candidate.transaction_time desc, candidate.item_id desc
