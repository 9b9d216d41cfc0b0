-- The newest name of each product that these sales hold.
insert into tandem.product as product (product_code, product_name, category, transaction_time, item_id)
select distinct on (item.product_code)
    item.product_code, item.product_name, item.category, sale.transaction_time, item.item_id
from sales.sales_item as item
join sales.sales_transaction as sale on sale.transaction_id = item.transaction_id
where item.transaction_id = any($1::uuid[])
order by item.product_code, sale.transaction_time desc, item.item_id desc
on conflict (product_code) do update set
    product_name = excluded.product_name,
    category = excluded.category,
    transaction_time = excluded.transaction_time,
    item_id = excluded.item_id
where (excluded.transaction_time, excluded.item_id) > (product.transaction_time, product.item_id)
