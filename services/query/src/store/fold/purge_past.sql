-- Of one transaction all rows go at once or none: from kept_xid on what is left is complete.
with oldest as (
    select min(ended_xid) as ended_xid
    from (
        select ended_xid from tandem.past_sale
        union all
        select ended_xid from tandem.past_item
    ) as past
),
batch as (
    -- A batch is a stretch of transactions.
    select ended_xid + 1000 as before_xid from oldest
),
horizon as (
    select min(folded_xid) as folded_xid from tandem.fold
),
bound as (
    select least(batch.before_xid, horizon.folded_xid) as before_xid from batch, horizon
),
young as (
    select min(ended_xid) as ended_xid
    from (
        select ended_xid from tandem.past_sale, bound where ended_xid < before_xid and ended_at >= $1
        union all
        select ended_xid from tandem.past_item, bound where ended_xid < before_xid and ended_at >= $1
    ) as past
),
final as (
    select least(bound.before_xid, young.ended_xid) as before_xid from bound, young
),
gone_sale as (
    delete from tandem.past_sale using final where ended_xid < final.before_xid returning past_sale.ended_xid
),
gone_item as (
    delete from tandem.past_item using final where ended_xid < final.before_xid returning past_item.ended_xid
),
gone as (
    select count(*) as removed, max(ended_xid) as ended_xid
    from (
        select ended_xid from gone_sale
        union all
        select ended_xid from gone_item
    ) as past
),
kept as (
    -- No further than what is gone: watchers that were told before the others ended can still go on from there.
    update tandem.past set kept_xid = greatest(kept_xid, gone.ended_xid + 1) from gone where gone.ended_xid is not null
)
select removed as "removed!" from gone
