-- One row, whatever is missing. Tables and watermark are of the statement's snapshot; the worker's figures are of now.
select
    (
        select count(*)
        from pg_catalog.pg_subscription_rel as relation
        join pg_catalog.pg_subscription as subscription on subscription.oid = relation.srsubid
        where subscription.subname = $1::text
            and subscription.subdbid = (select oid from pg_catalog.pg_database where datname = current_database())
            and relation.srsubstate <> 'r'
    ) as "tables_copying!",
    worker.received_lsn as "received_lsn?: Lsn",
    worker.latest_end_lsn as "applied_lsn?: Lsn",
    watermark.system_identifier as "system_identifier?",
    watermark.timeline as "timeline?",
    watermark.lsn as "lsn?: Lsn",
    watermark.written_at as "written_at?"
from (select) as always
left join lateral (
    select received_lsn, latest_end_lsn
    from pg_catalog.pg_stat_subscription
    where subname = $1::text and relid is null
    order by pid is not null desc, latest_end_lsn desc nulls last
    limit 1
) as worker on true
left join lateral (
    select system_identifier, timeline, lsn, written_at
    from tandem.watermark
    order by written_at desc, lsn desc
    limit 1
) as watermark on true
