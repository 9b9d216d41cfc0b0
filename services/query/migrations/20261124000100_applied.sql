-- How far the replica is, for statements that tell it beside an answer.

set local role tandem_owner;

-- One row, whatever is missing. Tables and watermark are of the statement's snapshot; the worker's figures are of the
-- moment when the statement runs, which is later.
create function tandem.applied(subscription text) returns table (
    tables_copying bigint,
    received_lsn pg_lsn,
    applied_lsn pg_lsn,
    system_identifier bigint,
    timeline integer,
    lsn pg_lsn,
    written_at timestamptz
)
language sql stable as $$
select
    (
        select count(*)
        from pg_catalog.pg_subscription_rel as relation
        join pg_catalog.pg_subscription as subscribed on subscribed.oid = relation.srsubid
        where subscribed.subname = applied.subscription
            and subscribed.subdbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
            and relation.srsubstate <> 'r'
    ),
    worker.received_lsn,
    worker.latest_end_lsn,
    watermark.system_identifier,
    watermark.timeline,
    watermark.lsn,
    watermark.written_at
from (select) as always
left join lateral (
    select stat.received_lsn, stat.latest_end_lsn
    from pg_catalog.pg_stat_subscription as stat
    where stat.subname = applied.subscription and stat.relid is null
    order by stat.pid is not null desc, stat.latest_end_lsn desc nulls last
    limit 1
) as worker on true
left join lateral (
    select newest.system_identifier, newest.timeline, newest.lsn, newest.written_at
    from tandem.watermark as newest
    order by newest.written_at desc, newest.lsn desc
    limit 1
) as watermark on true
$$;

comment on function tandem.applied(text) is
    'How far a subscription is: tables still copied, what its worker received and applied, and the newest watermark.';

reset role;
