-- A product is its code; name and category are those of its latest sale in the range.
select
    item.product_code as "product_code!",
    (array_agg(item.product_name order by sale.transaction_time desc, item.item_id desc))[1] as "product_name!",
    (array_agg(item.category order by sale.transaction_time desc, item.item_id desc))[1] as category,
    sum(item.quantity) as "quantity!",
    sum(item.total_price) as "revenue!",
    count(distinct item.transaction_id) as "transactions!"
from sales.sales_transaction as sale
join sales.sales_item as item on item.transaction_id = sale.transaction_id
where
    sale.transaction_time >= $1
    and sale.transaction_time < $2
    and (cardinality($3::integer[]) = 0 or sale.store_id = any($3))
    and (cardinality($4::text[]) = 0 or sale.payment_method = any($4))
group by item.product_code
order by
    case when $5::boolean then sum(item.quantity)::numeric else sum(item.total_price) end desc,
    item.product_code collate "C"
limit $6
