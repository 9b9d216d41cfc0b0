-- What items of sales looked like before either horizon, those of one sale in the order in which they were added.
select
    world.is_before as "is_before!",
    item.item_id as "item_id!",
    item.transaction_id as "transaction_id!",
    item.product_code as "product_code!",
    item.product_name as "product_name!",
    item.category as "category?",
    item.quantity as "quantity!",
    item.unit_price as "unit_price!",
    item.discount as "discount!",
    item.total_price as "total_price!"
from (
    select
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price,
        applied_xid, null::bigint as ended_xid
    from sales.sales_item
    where transaction_id = any($1::uuid[])
    union all
    select
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price,
        applied_xid, ended_xid
    from tandem.past_item
    where transaction_id = any($1) and ended_xid >= $2::bigint
) as item
cross join (values (true, $2), (false, $3::bigint)) as world (is_before, horizon)
where item.applied_xid < world.horizon and (item.ended_xid is null or item.ended_xid >= world.horizon)
order by item.item_id
