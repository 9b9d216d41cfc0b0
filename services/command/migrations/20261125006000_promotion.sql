-- How this database became the primary: empty where it has always been one.

set local role tandem_owner;

-- Written by `tandem-migrate promote` in the database transaction that makes a replica the primary: who is killed behind it
-- finds here that it has happened. Stays on the primary.
create table tandem.promotion (
    -- Whose: that of this cluster.
    system_identifier bigint primary key,
    from_system_identifier bigint not null,
    from_timeline integer not null,
    -- Behind every commit of the old primary, read after its writers were locked out; and how far this one had applied.
    drained_lsn pg_lsn not null,
    applied_lsn pg_lsn not null,
    -- Rows of published tables that were compared after that, and found equal.
    rows_compared bigint not null,
    -- Rows of tables that are not published, which were copied: request ids, above all.
    rows_carried bigint not null,
    -- Nobody could write from the one to the other, by the old primary's clock.
    fenced_at timestamptz not null,
    promoted_at timestamptz not null
);

comment on table tandem.promotion is 'How this database became the primary; empty where it has always been one. Not published.';

reset role;
