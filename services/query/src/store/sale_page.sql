-- Sales are counted out first, then their items: only those of the page are looked at.
with page as (
    select
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, created_at, updated_at, version
    from sales.sales_transaction as sale
    where
        ($1::timestamptz is null or transaction_time >= $1)
        and ($2::timestamptz is null or transaction_time < $2)
        and (cardinality($3::integer[]) = 0 or store_id = any($3))
        and (cardinality($4::integer[]) = 0 or cashier_id = any($4))
        and (cardinality($5::integer[]) = 0 or customer_id = any($5))
        and (cardinality($6::text[]) = 0 or payment_method = any($6))
        and (
            cardinality($7::text[]) = 0
            or exists (
                select from sales.sales_item as item
                where item.transaction_id = sale.transaction_id and item.category = any($7)
            )
        )
        and (
            cardinality($8::text[]) = 0
            or exists (
                select from sales.sales_item as item
                where item.transaction_id = sale.transaction_id and item.product_code = any($8)
            )
        )
        and ($9::numeric is null or total_amount >= $9)
        and ($10::numeric is null or total_amount <= $10)
        and ($11::timestamptz is null or (transaction_time, transaction_id) < ($11, $12::uuid))
    order by transaction_time desc, transaction_id desc
    limit $13
)
select
    page.transaction_id, page.transaction_time, page.cashier_id, page.store_id, page.payment_method,
    page.total_amount, page.total_discount, page.customer_id, page.created_at, page.updated_at, page.version,
    (
        select count(*) from sales.sales_item as item where item.transaction_id = page.transaction_id
    ) as "item_count!"
from page
order by page.transaction_time desc, page.transaction_id desc
