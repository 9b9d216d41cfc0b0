set local role tandem_owner;

-- How far each import has come. The row moves on in the database transaction that writes the sales: what it says is
-- durable is, and nothing else.
create table tandem.import (
    import_id uuid primary key,
    all_or_nothing boolean not null,
    -- Which of the caller's streams may write: one more with each start, so that an older one finds out.
    stream bigint not null
        constraint import_stream_check check (stream >= 1),
    last_row_number bigint not null,
    rows_written bigint not null,
    items_written bigint not null,
    rows_refused bigint not null,
    -- Wider than a sale's: the sum of all that an import can hold.
    total_amount numeric(20, 2) not null,
    total_discount numeric(20, 2) not null,
    content_hash bytea not null
        constraint import_content_hash_check check (octet_length(content_hash) = 32),
    -- When the last chunk was written, or the import completed.
    moved_at timestamptz not null,
    is_complete boolean not null,
    -- Behind the whole import; read after the COMMIT that completed it, hence written after it.
    system_identifier bigint,
    timeline integer,
    lsn pg_lsn,
    constraint import_rows_check check (
        rows_written >= 0 and rows_refused >= 0 and last_row_number = rows_written + rows_refused
    )
);

create index import_moved_at_idx on tandem.import (moved_at);

-- Rows that are wrong, so that a caller who resumes hears of them again.
create table tandem.import_refusal (
    import_id uuid not null
        constraint import_refusal_import_id_fkey
        references tandem.import (import_id) on delete cascade,
    row_number bigint not null
        constraint import_refusal_row_number_check check (row_number >= 1),
    reason text not null,
    -- Field, reason and description of each violation.
    violations json not null,
    primary key (import_id, row_number)
);

grant select, insert, update, delete on tandem.import, tandem.import_refusal to tandem_command;

reset role;
