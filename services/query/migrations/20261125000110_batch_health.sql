-- How the replication of batches is doing, as a replica can know it: by what it has applied.

set local role tandem_owner;

-- READY: what the batch has written is on this replica. Else REPLICATING, SLOW (for more than 30 minutes) or STUCK (for
-- more than 60): since the batch ended, as far as is known here. FAILED batches are judged by the rows that they have
-- left.
--
-- That a batch has ended is written after the last of its rows was committed, and applied in that order: who sees the one
-- sees the other, whatever a worker says of its position. Not while a table is copied: this one may be there before
-- the sales are. Of a batch that goes on, as far as is known here, the end may have been on its way since the newest
-- watermark: everything older is visible.
create view tandem.batch_replication as
select
    judged.batch_id,
    judged.schema_name,
    judged.table_name,
    judged.status,
    judged.health,
    pg_catalog.array_position(array['STUCK', 'SLOW', 'REPLICATING', 'READY'], judged.health) as severity,
    judged.started_at,
    judged.ended_at,
    judged.waiting_since,
    pg_catalog.round(
        extract(epoch from pg_catalog.statement_timestamp() - judged.ended_at) / 60, 1
    ) as minutes_since_completion,
    judged.batch_lsn,
    judged.system_identifier,
    judged.timeline,
    judged.replicated_lsn,
    -- How much is missing only the primary knows.
    case when judged.is_replicated then 0 end::bigint as lag_bytes,
    judged.row_count,
    judged.error
from (
    select
        known.batch_id,
        known.schema_name,
        known.table_name,
        known.status,
        known.started_at,
        known.ended_at,
        known.waiting_since,
        known.batch_lsn,
        known.system_identifier,
        known.timeline,
        known.replicated_lsn,
        known.row_count,
        known.error,
        known.is_replicated,
        case
            when known.is_replicated then 'READY'
            when pg_catalog.statement_timestamp() - known.waiting_since > interval '60 minutes' then 'STUCK'
            when pg_catalog.statement_timestamp() - known.waiting_since > interval '30 minutes' then 'SLOW'
            else 'REPLICATING'
        end as health
    from (
        select
            batch.batch_id,
            batch.schema_name,
            batch.table_name,
            batch.status,
            batch.started_at,
            batch.ended_at,
            coalesce(batch.ended_at, greatest(batch.started_at, watermark.written_at)) as waiting_since,
            batch.lsn as batch_lsn,
            batch.system_identifier,
            batch.timeline,
            case when copying.tables = 0 then
                greatest(
                    batch.lsn,
                    case
                        when coalesce(batch.system_identifier, watermark.system_identifier) = watermark.system_identifier
                        then watermark.lsn
                    end
                )
            end as replicated_lsn,
            batch.row_count,
            batch.error,
            batch.status <> 'IN_PROGRESS' and copying.tables = 0 as is_replicated
        from tandem.batch_control as batch
        cross join (
            select count(*) as tables
            from pg_catalog.pg_subscription_rel as relation
            join pg_catalog.pg_subscription as subscribed on subscribed.oid = relation.srsubid
            where relation.srsubstate <> 'r'
                and subscribed.subdbid = (
                    select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()
                )
        ) as copying
        left join lateral (
            select newest.system_identifier, newest.lsn, newest.written_at
            from tandem.watermark as newest
            order by newest.written_at desc, newest.lsn desc
            limit 1
        ) as watermark on true
    ) as known
) as judged;

comment on view tandem.batch_replication is 'Batches, and whether what they have written is on this replica.';

-- The batches of a table, the worst first.
create function tandem.check_batch_replication_status(of_schema text, of_table text) returns table (
    batch_id text,
    schema_name text,
    table_name text,
    status text,
    health text,
    started_at timestamptz,
    ended_at timestamptz,
    minutes_since_completion numeric,
    batch_lsn pg_lsn,
    replicated_lsn pg_lsn,
    lag_bytes bigint,
    row_count bigint,
    error text
)
language sql stable as $$
select
    batch.batch_id, batch.schema_name, batch.table_name, batch.status, batch.health, batch.started_at, batch.ended_at,
    batch.minutes_since_completion, batch.batch_lsn, batch.replicated_lsn, batch.lag_bytes, batch.row_count, batch.error
from tandem.batch_replication as batch
where batch.schema_name = of_schema and batch.table_name = of_table
order by batch.severity, batch.status = 'FAILED' desc, batch.waiting_since, batch.batch_id
$$;

-- The newest batch of a table; nothing where it has none.
create function tandem.check_latest_batch_replication_status(of_schema text, of_table text) returns table (
    batch_id text,
    schema_name text,
    table_name text,
    status text,
    health text,
    started_at timestamptz,
    ended_at timestamptz,
    minutes_since_completion numeric,
    batch_lsn pg_lsn,
    replicated_lsn pg_lsn,
    lag_bytes bigint,
    row_count bigint,
    error text
)
language sql stable as $$
select
    batch.batch_id, batch.schema_name, batch.table_name, batch.status, batch.health, batch.started_at, batch.ended_at,
    batch.minutes_since_completion, batch.batch_lsn, batch.replicated_lsn, batch.lag_bytes, batch.row_count, batch.error
from tandem.batch_replication as batch
where batch.schema_name = of_schema and batch.table_name = of_table
order by batch.started_at desc, batch.batch_id desc
limit 1
$$;

-- The newest batch of each of these tables (schema.table), the worst first. A table that has none has a row without a
-- batch, at the end.
create function tandem.check_multiple_tables_replication_status(of_tables text[]) returns table (
    batch_id text,
    schema_name text,
    table_name text,
    status text,
    health text,
    started_at timestamptz,
    ended_at timestamptz,
    minutes_since_completion numeric,
    batch_lsn pg_lsn,
    replicated_lsn pg_lsn,
    lag_bytes bigint,
    row_count bigint,
    error text
)
language sql stable as $$
select
    batch.batch_id, wanted.schema_name, wanted.table_name, batch.status, batch.health, batch.started_at,
    batch.ended_at, batch.minutes_since_completion, batch.batch_lsn, batch.replicated_lsn, batch.lag_bytes,
    batch.row_count, batch.error
from (
    select distinct
        pg_catalog.split_part(name, '.', 1) as schema_name,
        pg_catalog.substr(name, pg_catalog.strpos(name, '.') + 1) as table_name
    from pg_catalog.unnest(of_tables) as name
) as wanted
left join lateral (
    select
        newest.batch_id, newest.status, newest.health, newest.severity, newest.started_at, newest.ended_at,
        newest.waiting_since, newest.minutes_since_completion, newest.batch_lsn, newest.replicated_lsn,
        newest.lag_bytes, newest.row_count, newest.error
    from tandem.batch_replication as newest
    where newest.schema_name = wanted.schema_name and newest.table_name = wanted.table_name
    order by newest.started_at desc, newest.batch_id desc
    limit 1
) as batch on true
order by batch.severity, batch.status = 'FAILED' desc, batch.waiting_since, wanted.schema_name, wanted.table_name
$$;

comment on function tandem.check_batch_replication_status(text, text) is
    'The batches of a table and how their replication is doing, the worst first.';
comment on function tandem.check_latest_batch_replication_status(text, text) is
    'The newest batch of a table and how its replication is doing.';
comment on function tandem.check_multiple_tables_replication_status(text[]) is
    'The newest batch of each of these tables (schema.table) and how its replication is doing, the worst first.';

grant select on tandem.batch_replication to tandem_query;

reset role;
