-- Rows that stood in the way of the primary's. `heal` moves them here, so that nothing that somebody wrote by hand is lost.

set local role tandem_owner;

create table tandem.set_aside (
    set_aside_id bigint generated always as identity primary key,
    -- schema.table, the row's primary key, and all of it.
    table_name text not null,
    key jsonb not null,
    contents jsonb not null,
    -- What the primary sent, its values as text, and where the commit begins that brought it.
    arriving jsonb not null,
    commit_lsn pg_lsn not null,
    set_aside_at timestamptz not null default clock_timestamp()
);

comment on table tandem.set_aside is 'Rows of this replica that stood where the primary put rows. Nobody reads them: drop what is not needed.';

-- Written when tables that were built anew have taken the old ones' places while the stream was off, and gone once it is on:
-- `rebuild-replica` finds here where the stream has to go on.
create table tandem.rebuilt (
    subscription text primary key,
    lsn pg_lsn not null
);

reset role;
