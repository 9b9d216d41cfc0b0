with new_sale as materialized (
    select
        transaction_id, request_id, payload_hash, transaction_time, cashier_id, store_id, payment_method,
        total_amount, total_discount, customer_id, item_ids
    from unnest(
        $1::uuid[], $2::uuid[], $3::bytea[], $4::timestamptz[], $5::integer[], $6::integer[], $7::text[],
        $8::numeric[], $9::numeric[], $10::integer[], $21::bytea[]
    ) as command (
        transaction_id, request_id, payload_hash, transaction_time, cashier_id, store_id, payment_method,
        total_amount, total_discount, customer_id, item_ids
    )
),
new_item as materialized (
    select
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
    from unnest(
        $12::uuid[], $13::uuid[], $14::text[], $15::text[], $16::text[], $17::integer[], $18::numeric[],
        $19::numeric[], $20::numeric[]
    ) as line (
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
    )
),
-- In the order of the ids, so that two such statements can't wait for each other.
claimed as (
    insert into tandem.request_id (request_id, payload_hash, created_at, transaction_id, item_ids)
    select request_id, payload_hash, $11, transaction_id, item_ids
    from new_sale
    where request_id is not null
    order by request_id
    on conflict (request_id) do nothing
    returning transaction_id
),
header as (
    insert into sales.sales_transaction (
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, created_at, updated_at, version
    )
    select
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, $11, $11, 1
    from new_sale
    where request_id is null or transaction_id in (select claimed.transaction_id from claimed)
    returning transaction_id
),
line as (
    insert into sales.sales_item (
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
    )
    select
        new_item.item_id, new_item.transaction_id, new_item.product_code, new_item.product_name, new_item.category,
        new_item.quantity, new_item.unit_price, new_item.discount, new_item.total_price
    from new_item
    join header on header.transaction_id = new_item.transaction_id
)
select transaction_id from header
