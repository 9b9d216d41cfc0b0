-- Sales {first} to {last}, three items each, in one statement: what is drawn comes from the number alone, so every database
-- gets the same rows. 50 stores with 12 cashiers, 200 products in 8 categories, five ways to pay.
with sale as materialized (
    select
        number,
        timestamptz '{start}' + (number - 1) * {step} * interval '1 microsecond' as sold_at,
        hashint8extended(number, 1) & 9223372036854775807 as hash
    from generate_series(({first})::bigint, ({last})::bigint) as number
),
line as materialized (
    select
        sale.number, sale.sold_at, sale.hash, line.line, product.product, product.price, product.quantity,
        case when drawn.hash / 7 % 10 = 0 then round(product.price * product.quantity / 10, 2) else 0 end as discount
    from sale
    cross join generate_series(1, 3) as line (line)
    cross join lateral (
        select hashint8extended(sale.number * 4 + line.line, 2) & 9223372036854775807 as hash
    ) as drawn
    cross join lateral (
        select
            drawn.hash % 200 as product,
            ((100 + drawn.hash % 200 * 37 % 900) / 100.0)::numeric(10, 2) as price,
            (1 + drawn.hash / 1000 % 3)::integer as quantity
    ) as product
),
named as (
    select
        number, sold_at, hash, line, product, price, quantity, discount,
        lpad(to_hex(floor(extract(epoch from sold_at) * 1000)::bigint), 12, '0') as moment,
        lpad(to_hex(number), 12, '0') as suffix
    from line
),
header as (
    insert into sales.sales_transaction (
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, created_at, updated_at, version
    )
    select
        (moment || '70008000' || suffix)::uuid, sold_at, 1 + hash / 50 % 12, 1 + hash % 50,
        (array['cash', 'credit_card', 'debit_card', 'gift_card', 'mobile'])[1 + hash / 600 % 5],
        sum(price * quantity - discount), sum(discount), 1 + hash / 3000 % 1000, sold_at, sold_at, 1
    from named
    group by number, moment, suffix, sold_at, hash
    order by number
    returning 1
)
insert into sales.sales_item (
    item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
)
select
    (moment || '700' || line || '8000' || suffix)::uuid, (moment || '70008000' || suffix)::uuid,
    'P-' || lpad(product::text, 3, '0'), 'Product ' || product, 'Category ' || product % 8, quantity, price, discount,
    price * quantity - discount
from named
order by number, line
