-- In the order of the ids, so that two such statements can't wait for each other.
with claimed as (
    insert into tandem.request_id (request_id, payload_hash, created_at, transaction_id, item_ids)
    select request_id, payload_hash, $1, transaction_id, item_ids
    from unnest($2::uuid[], $3::bytea[], $4::uuid[], $5::bytea[]) as claim (
        request_id, payload_hash, transaction_id, item_ids
    )
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
        customer_id, $1, $1, 1
    from unnest(
        $6::uuid[], $7::uuid[], $8::timestamptz[], $9::integer[], $10::integer[], $11::text[], $12::numeric[],
        $13::numeric[], $14::integer[]
    ) as new_sale (
        transaction_id, claim, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id
    )
    where claim is null or claim in (select claimed.transaction_id from claimed)
    returning transaction_id
),
line as (
    insert into sales.sales_item (
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
    )
    select
        new_item.item_id, new_item.transaction_id, new_item.product_code, new_item.product_name, new_item.category,
        new_item.quantity, new_item.unit_price, new_item.discount, new_item.total_price
    from unnest(
        $15::uuid[], $16::uuid[], $17::text[], $18::text[], $19::text[], $20::integer[], $21::numeric[],
        $22::numeric[], $23::numeric[]
    ) as new_item (
        item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
    )
    where new_item.transaction_id in (select header.transaction_id from header)
)
select transaction_id from header
