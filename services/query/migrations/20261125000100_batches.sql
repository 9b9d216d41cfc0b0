-- Batches, as the primary writes them. Goes to replicas before the primary publishes it.

set local role tandem_owner;

create table tandem.batch_control (
    batch_id text not null,
    schema_name text not null,
    table_name text not null,
    status text not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    lsn pg_lsn,
    system_identifier bigint,
    timeline integer,
    row_count bigint,
    error text,
    primary key (batch_id, schema_name, table_name)
);

comment on table tandem.batch_control is 'Batches of rows: one row for each table that a batch touches. As replicated.';

-- The newest batch of a table, and batches page by page.
create index batch_control_started_at_idx on tandem.batch_control (started_at, batch_id);

grant select on tandem.batch_control to tandem_query;

reset role;
