-- Figures that the rollups hold, summed up by step. Which step a bucket belongs to is looked up among the steps' starts,
-- which are sorted. Stretches of time are looked up one by one, in the index, and not joined: the planner would read all
-- rollups of a dimension once it plans without knowing the stretches, as it does from the sixth time on.
select
    ($4::integer[])[width_bucket(held.bucket, $5::timestamptz[])] as "step!",
    case when $1::boolean then held.key else '' end as "key!",
    sum(held.revenue) as "revenue!",
    -- With one category only, no sale is there twice.
    (sum(held.transactions) - case when $10::text is null then sum(held.repeats) else 0 end)::bigint as "transactions!",
    sum(held.items_sold)::bigint as "items_sold!",
    sum(held.total_discount) as "total_discount!"
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
group by 1, 2
