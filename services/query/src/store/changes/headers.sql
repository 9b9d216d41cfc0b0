-- What sales looked like before either horizon.
select
    world.is_before as "is_before!",
    sale.transaction_id as "transaction_id!",
    sale.transaction_time as "transaction_time!",
    sale.cashier_id as "cashier_id!",
    sale.store_id as "store_id!",
    sale.payment_method as "payment_method!",
    sale.total_amount as "total_amount!",
    sale.total_discount as "total_discount!",
    sale.customer_id as "customer_id?",
    sale.created_at as "created_at!",
    sale.updated_at as "updated_at!",
    sale.version as "version!"
from (
    select
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, created_at, updated_at, version, applied_xid, null::bigint as ended_xid
    from sales.sales_transaction
    where transaction_id = any($1::uuid[])
    union all
    select
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, created_at, updated_at, version, applied_xid, ended_xid
    from tandem.past_sale
    where transaction_id = any($1) and ended_xid >= $2::bigint
) as sale
cross join (values (true, $2), (false, $3::bigint)) as world (is_before, horizon)
where sale.applied_xid < world.horizon and (sale.ended_xid is null or sale.ended_xid >= world.horizon)
