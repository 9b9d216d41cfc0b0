-- Adds to the rollups what these sales have become before an id, and takes away what the rollups hold of them.
with change as materialized (
    select
        sign, transaction_id, date_trunc('hour', transaction_time, 'UTC') as bucket, cashier_id, store_id,
        payment_method, total_amount, total_discount, product_code, category, quantity, discount, total_price
    from tandem.change($2::uuid[], $3::bigint, $3::bigint, null, $4::bigint)
),
-- A sale counts once in a category, and once in a product and category, however many items of it are there.
part as (
    select
        sign, transaction_id, bucket, product_code, category,
        sum(total_price) as revenue, sum(quantity) as items_sold, sum(discount) as total_discount,
        row_number() over (partition by sign, transaction_id, product_code order by category) > 1 as is_repeat
    from change
    where product_code is not null
    group by sign, transaction_id, bucket, product_code, category
),
by_category as (
    select
        sign, transaction_id, bucket, category,
        sum(revenue) as revenue, sum(items_sold) as items_sold, sum(total_discount) as total_discount
    from part
    group by sign, transaction_id, bucket, category
),
hour as (
    select
        cut.dimension, change.bucket, cut.key, '' as category,
        coalesce(sum(sign * total_amount), 0) as revenue,
        coalesce(sum(sign) filter (where product_code is null), 0) as transactions,
        0::bigint as repeats,
        coalesce(sum(sign * quantity), 0) as items_sold,
        coalesce(sum(sign * total_discount), 0) as total_discount
    from change
    cross join lateral (
        values
            ('all'::tandem.dimension, ''), ('store', store_id::text), ('cashier', cashier_id::text),
            ('payment_method', payment_method)
    ) as cut (dimension, key)
    group by cut.dimension, change.bucket, cut.key
    union all
    select
        'category', bucket, category, '', sum(sign * revenue), sum(sign), 0, sum(sign * items_sold)::bigint,
        sum(sign * total_discount)
    from by_category
    group by bucket, category
),
cell as (
    select
        'hour'::tandem.grain as grain, dimension, bucket, key, category, revenue, transactions, repeats, items_sold,
        total_discount
    from hour
    union all
    select
        'day', dimension, date_trunc('day', bucket, 'UTC') as day, key, category, sum(revenue), sum(transactions),
        sum(repeats), sum(items_sold), sum(total_discount)
    from hour
    group by dimension, day, key, category
    union all
    select
        'day', 'product', date_trunc('day', bucket, 'UTC') as day, product_code, category, sum(sign * revenue), sum(sign),
        coalesce(sum(sign) filter (where is_repeat), 0), sum(sign * items_sold), sum(sign * total_discount)
    from part
    group by day, product_code, category
)
insert into tandem.rollup as rollup (
    generation, dimension, grain, bucket, key, category, revenue, transactions, repeats, items_sold, total_discount
)
select
    $1::integer, dimension, grain, bucket, key, category, revenue, transactions, repeats, items_sold, total_discount
from cell
where revenue <> 0 or transactions <> 0 or repeats <> 0 or items_sold <> 0 or total_discount <> 0
-- In the order of the key: neighbours in the index are written together.
order by dimension, grain, bucket, key, category
on conflict (generation, dimension, grain, bucket, key, category) do update set
    revenue = rollup.revenue + excluded.revenue,
    transactions = rollup.transactions + excluded.transactions,
    repeats = rollup.repeats + excluded.repeats,
    items_sold = rollup.items_sold + excluded.items_sold,
    total_discount = rollup.total_discount + excluded.total_discount
