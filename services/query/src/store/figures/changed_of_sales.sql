-- What has to be added to the rollups' figures of whole sales: of sales that have changed since.
-- Which segment a change belongs to is looked up among the segments' starts, which are sorted.
select
    ($2::integer[])[place.place] as "step!",
    case $1
        when 'store' then change.store_id::text
        when 'cashier' then change.cashier_id::text
        when 'payment_method' then change.payment_method
        else ''
    end as "key!",
    coalesce(sum(change.sign * change.total_amount), 0) as "revenue!",
    coalesce(sum(change.sign) filter (where change.product_code is null), 0) as "transactions!",
    coalesce(sum(change.sign * change.quantity), 0) as "items_sold!",
    coalesce(sum(change.sign * change.total_discount), 0) as "total_discount!"
from tandem.change($5::uuid[], $6::bigint, $7::bigint, $8::uuid, 9223372036854775807) as change
cross join lateral (select width_bucket(change.transaction_time, $3::timestamptz[])) as place (place)
where
    -- Before the first start the place is 0, which has no end.
    change.transaction_time < ($4::timestamptz[])[place.place]
    and (cardinality($9::integer[]) = 0 or change.store_id = any($9))
    and (cardinality($10::text[]) = 0 or change.payment_method = any($10))
group by 1, 2
