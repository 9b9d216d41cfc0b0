-- Batches: sales that were written together and are asked for together. Replicas get tandem.batch_control before it is
-- published here: `tandem-query migrate` on each of them, `tandem-command migrate`, then `tandem-query migrate` again,
-- which takes the table into the subscription.

set local role tandem_owner;

-- One row for each table that a batch touches. It travels to the replica behind the batch's rows: where it says
-- COMPLETED and is visible, they are visible too.
create table tandem.batch_control (
    batch_id text not null
        constraint batch_control_batch_id_check check (batch_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$'),
    schema_name text not null,
    table_name text not null,
    status text not null
        constraint batch_control_status_check check (status in ('IN_PROGRESS', 'COMPLETED', 'FAILED')),
    started_at timestamptz not null,
    ended_at timestamptz,
    -- Behind all rows of the batch: read after the last COMMIT. Of a batch that failed, behind what it has left.
    lsn pg_lsn,
    -- Whose position that is.
    system_identifier bigint,
    timeline integer,
    -- Rows written to this table; null while nobody has counted them.
    row_count bigint
        constraint batch_control_row_count_check check (row_count >= 0),
    error text,
    primary key (batch_id, schema_name, table_name),
    constraint batch_control_ended_check check ((status = 'IN_PROGRESS') = (ended_at is null)),
    constraint batch_control_completed_check check (
        status <> 'COMPLETED' or num_nulls(lsn, system_identifier, timeline, row_count) = 0
    ),
    constraint batch_control_error_check check ((status = 'FAILED') = (error is not null))
);

comment on table tandem.batch_control is 'Batches of rows: one row for each table that a batch touches. Published.';

-- The newest batch of a table, and batches page by page.
create index batch_control_started_at_idx on tandem.batch_control (started_at, batch_id);

-- Which sales a batch has written: a row for each chunk, in the database transaction that writes it. Stays on the
-- primary, which is asked for a batch's rows.
create table tandem.batch_part (
    batch_id text not null,
    part integer not null
        constraint batch_part_part_check check (part >= 1),
    transaction_ids uuid[] not null,
    written_at timestamptz not null default now(),
    primary key (batch_id, part)
);

-- Ids made in one go differ in their random halves: to try and compress them costs time and gains little.
alter table tandem.batch_part alter column transaction_ids set storage external;

comment on table tandem.batch_part is 'Which sales a batch has written, a row for each chunk. Not published.';

grant select, insert, update, delete on tandem.batch_control, tandem.batch_part to tandem_command;
grant select on tandem.batch_control to tandem_replication;

reset role;

alter publication tandem_publication add table tandem.batch_control (
    batch_id, schema_name, table_name, status, started_at, ended_at, lsn, system_identifier, timeline, row_count, error
);
