-- Rollups of one stretch of time, whole days UTC, against the sales as they looked at the horizon. Written without the
-- functions that fold, so that no mistake of theirs is believed.
with horizon as (
    select generation, folded_xid, sweep_xid, sweep_id from tandem.fold where is_current
),
sale as (
    select
        sale.transaction_id, sale.transaction_time, sale.store_id, sale.cashier_id, sale.payment_method,
        sale.total_amount, sale.total_discount
    from horizon
    join sales.sales_transaction as sale
        on sale.applied_xid
            < case when sale.transaction_id <= horizon.sweep_id then horizon.sweep_xid else horizon.folded_xid end
    where sale.transaction_time >= $1 and sale.transaction_time < $2
    union all
    select
        past.transaction_id, past.transaction_time, past.store_id, past.cashier_id, past.payment_method,
        past.total_amount, past.total_discount
    from horizon
    cross join lateral (
        select
            transaction_id, transaction_time, store_id, cashier_id, payment_method, total_amount, total_discount,
            applied_xid, ended_xid,
            case when transaction_id <= horizon.sweep_id then horizon.sweep_xid else horizon.folded_xid end as xid
        from tandem.past_sale
    ) as past
    where
        past.applied_xid < past.xid and past.ended_xid >= past.xid
        and past.transaction_time >= $1 and past.transaction_time < $2
),
item as (
    select
        sale.transaction_id, sale.transaction_time, live.product_code, coalesce(live.category, '') as category,
        live.quantity, live.total_price, live.discount
    from sale
    cross join horizon
    join sales.sales_item as live on live.transaction_id = sale.transaction_id
    where
        live.applied_xid
        < case when live.transaction_id <= horizon.sweep_id then horizon.sweep_xid else horizon.folded_xid end
    union all
    select
        sale.transaction_id, sale.transaction_time, past.product_code, coalesce(past.category, ''), past.quantity,
        past.total_price, past.discount
    from sale
    cross join horizon
    join (
        select
            transaction_id, product_code, category, quantity, total_price, discount, applied_xid, ended_xid,
            case when transaction_id <= fold.sweep_id then fold.sweep_xid else fold.folded_xid end as xid
        from tandem.past_item
        join tandem.fold on fold.is_current
    ) as past on past.transaction_id = sale.transaction_id
    where past.applied_xid < past.xid and past.ended_xid >= past.xid
),
sold as (
    select transaction_id, sum(quantity) as quantity from item group by transaction_id
),
labelled as (
    select
        transaction_id, transaction_time, product_code, category, quantity, total_price, discount,
        min(category) over (partition by transaction_id, product_code) as first_category
    from item
),
expected as (
    select
        cut.dimension, part.grain, date_trunc(part.grain, sale.transaction_time, 'UTC') as bucket, cut.key,
        '' as category, sum(sale.total_amount) as revenue, count(*) as transactions, 0::bigint as repeats,
        coalesce(sum(sold.quantity), 0) as items_sold, sum(sale.total_discount) as total_discount
    from sale
    left join sold on sold.transaction_id = sale.transaction_id
    cross join lateral (
        values
            ('all', ''), ('store', sale.store_id::text), ('cashier', sale.cashier_id::text),
            ('payment_method', sale.payment_method)
    ) as cut (dimension, key)
    cross join (values ('hour'), ('day')) as part (grain)
    group by 1, 2, 3, 4
    union all
    select
        'category', part.grain, date_trunc(part.grain, transaction_time, 'UTC') as bucket, category, '',
        sum(total_price), count(distinct transaction_id), 0, sum(quantity), sum(discount)
    from item
    cross join (values ('hour'), ('day')) as part (grain)
    group by 1, 2, 3, 4
    union all
    select
        'product', 'day', date_trunc('day', transaction_time, 'UTC') as bucket, product_code, category,
        sum(total_price), count(distinct transaction_id),
        count(distinct transaction_id) filter (where category <> first_category), sum(quantity), sum(discount)
    from labelled
    group by 1, 2, 3, 4, 5
),
held as (
    select
        rollup.dimension::text as dimension, rollup.grain::text as grain, rollup.bucket, rollup.key, rollup.category,
        rollup.revenue, rollup.transactions, rollup.repeats, rollup.items_sold, rollup.total_discount
    from horizon
    join tandem.rollup as rollup on rollup.generation = horizon.generation
    where
        rollup.bucket >= $1 and rollup.bucket < $2
        -- Of groups whose sales are all gone a row of zeros may stay.
        and (rollup.revenue, rollup.transactions, rollup.repeats, rollup.items_sold, rollup.total_discount)
            <> (0, 0, 0, 0, 0)
),
compared as (
    select
        dimension, grain, bucket, key, category,
        jsonb_build_array(
            expected.revenue, expected.transactions, expected.repeats, expected.items_sold, expected.total_discount
        ) as expected,
        jsonb_build_array(held.revenue, held.transactions, held.repeats, held.items_sold, held.total_discount) as held,
        expected.dimension is null or held.dimension is null
            or (expected.revenue, expected.transactions, expected.repeats, expected.items_sold, expected.total_discount)
                <> (held.revenue, held.transactions, held.repeats, held.items_sold, held.total_discount) as differs
    from expected
    full join held using (dimension, grain, bucket, key, category)
    -- A sale of nothing and for nothing has figures, but an item-less group of zeros is no group.
    where coalesce(expected.transactions, 1) <> 0
)
select
    count(*) as compared,
    count(*) filter (where differs) as different,
    (
        array_agg(
            format('%s %s %s %s: rollup %s, sales %s', grain, to_char(bucket at time zone 'UTC', 'YYYY-MM-DD"T"HH24"Z"'),
                dimension, concat_ws(' of ', nullif(key, ''), nullif(category, '')), held, expected)
            order by bucket, dimension, key
        ) filter (where differs)
    )[1:20] as examples
from compared
