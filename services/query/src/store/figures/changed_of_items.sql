-- What has to be added to the rollups' figures of items: of sales that have changed since.
-- Which segment a change belongs to is looked up among the segments' starts, which are sorted.
select
    ($2::integer[])[place.place] as "step!",
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
from tandem.change($5::uuid[], $6::bigint, $7::bigint, $8::uuid, 9223372036854775807) as change
cross join lateral (select width_bucket(change.transaction_time, $3::timestamptz[])) as place (place)
where
    -- Before the first start the place is 0, which has no end.
    change.transaction_time < ($4::timestamptz[])[place.place]
    and change.product_code is not null
    and (cardinality($9::text[]) = 0 or change.category = any($9))
group by 1, 2
