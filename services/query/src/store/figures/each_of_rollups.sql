-- Figures that the rollups hold, as they are: where a step is a bucket, summing them up takes longer than reading them.
select
    ($4::integer[])[width_bucket(held.bucket, $5::timestamptz[])] as "step!",
    case when $1::boolean then held.key else '' end as "key!",
    held.revenue as "revenue!",
    -- With one category only, no sale is there twice.
    held.transactions - case when $10::text is null then held.repeats else 0 end as "transactions!",
    held.items_sold as "items_sold!",
    held.total_discount as "total_discount!"
from unnest($6::text[], $7::timestamptz[], $8::timestamptz[]) as stretch (grain, start_time, end_time)
cross join lateral (
    select
        rollup.bucket, rollup.key, rollup.revenue, rollup.transactions, rollup.repeats, rollup.items_sold,
        rollup.total_discount
    from tandem.rollup as rollup
    where
        rollup.generation = $2::integer
        and rollup.dimension = $3::text::tandem.dimension
        and rollup.grain = stretch.grain::tandem.grain
        and rollup.bucket >= stretch.start_time
        and rollup.bucket < stretch.end_time
        and (cardinality($9::text[]) = 0 or rollup.key = any($9))
        and ($10::text is null or rollup.category = $10)
    offset 0
) as held
