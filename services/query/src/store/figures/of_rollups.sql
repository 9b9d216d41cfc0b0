-- Figures that the rollups hold. Each segment is looked up by itself, in the index: joined, the planner would read all
-- rollups of a dimension once it plans without knowing the segments, as it does from the sixth time on.
select
    segment.step as "step!",
    held.key as "key!",
    held.revenue as "revenue!",
    held.transactions as "transactions!",
    held.items_sold as "items_sold!",
    held.total_discount as "total_discount!"
from unnest($4::integer[], $5::text[], $6::timestamptz[], $7::timestamptz[])
    as segment (step, grain, start_time, end_time)
cross join lateral (
    select
        case when $1::boolean then rollup.key else '' end as key,
        sum(rollup.revenue) as revenue,
        -- With one category only, no sale is there twice.
        (sum(rollup.transactions) - case when $9::text is null then sum(rollup.repeats) else 0 end)::bigint as transactions,
        sum(rollup.items_sold)::bigint as items_sold,
        sum(rollup.total_discount) as total_discount
    from tandem.rollup as rollup
    where
        rollup.generation = $2::integer
        and rollup.dimension = $3::text::tandem.dimension
        and rollup.grain = segment.grain::tandem.grain
        and rollup.bucket >= segment.start_time
        and rollup.bucket < segment.end_time
        and (cardinality($8::text[]) = 0 or rollup.key = any($8))
        and ($9 is null or rollup.category = $9)
    group by 1
) as held
