-- One row an item, or one without, and in each how far the replica is: one statement, one round trip. The replica is
-- looked at while the statement runs, and so after its snapshot was taken.
with applied as materialized (
    select tables_copying, received_lsn, applied_lsn, system_identifier, timeline, lsn, written_at
    from tandem.applied($2)
)
select
    sale.transaction_id as "transaction_id?",
    sale.transaction_time as "transaction_time?",
    sale.cashier_id as "cashier_id?",
    sale.store_id as "store_id?",
    sale.payment_method as "payment_method?",
    sale.total_amount as "total_amount?",
    sale.total_discount as "total_discount?",
    sale.customer_id as "customer_id?",
    sale.created_at as "created_at?",
    sale.updated_at as "updated_at?",
    sale.version as "version?",
    item.item_id as "item_id?",
    item.product_code as "product_code?",
    item.product_name as "product_name?",
    item.category as "category?",
    item.quantity as "quantity?",
    item.unit_price as "unit_price?",
    item.discount as "discount?",
    item.total_price as "total_price?",
    applied.tables_copying as "tables_copying!",
    applied.received_lsn as "received_lsn?: Lsn",
    applied.applied_lsn as "applied_lsn?: Lsn",
    applied.system_identifier as "system_identifier?",
    applied.timeline as "timeline?",
    applied.lsn as "lsn?: Lsn",
    applied.written_at as "written_at?"
from applied
left join sales.sales_transaction as sale on sale.transaction_id = any($1)
left join sales.sales_item as item on item.transaction_id = sale.transaction_id
order by sale.transaction_id, item.item_id
