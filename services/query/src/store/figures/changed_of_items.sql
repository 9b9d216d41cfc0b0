-- What has to be added to the rollups' figures of items: of sales that have changed since.
select
    segment.step as "step!",
    case $1
        when 'category' then change.category
        when 'product' then change.product_code
        else ''
    end as "key!",
    sum(change.sign * change.total_price) as "revenue!",
    count(distinct change.transaction_id) filter (where change.sign > 0)
        - count(distinct change.transaction_id) filter (where change.sign < 0) as "transactions!",
    sum(change.sign * change.quantity) as "items_sold!",
    sum(change.sign * change.discount) as "total_discount!"
from unnest($2::integer[], $3::timestamptz[], $4::timestamptz[]) as segment (step, start_time, end_time)
join tandem.change($5::uuid[], $6::bigint, $7::bigint, $8::uuid, 9223372036854775807) as change
    on change.transaction_time >= segment.start_time and change.transaction_time < segment.end_time
where
    change.product_code is not null
    and (cardinality($9::text[]) = 0 or change.category = any($9))
group by 1, 2
