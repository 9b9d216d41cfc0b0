-- What products are called: as on their newest sales of all.
select distinct on (item.product_code) item.product_code, item.product_name, item.category
from sales.sales_item as item
join sales.sales_transaction as sale on sale.transaction_id = item.transaction_id
where item.product_code = any($1)
order by item.product_code, sale.transaction_time desc, item.item_id desc
