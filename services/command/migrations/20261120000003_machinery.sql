set local role tandem_owner;

-- The first answer to each request id, so that a retry gets it again.
create table tandem.request_id (
    request_id uuid primary key,
    payload_hash bytea not null
        constraint request_id_payload_hash_check check (octet_length(payload_hash) = 32),
    -- What the command did. Null only inside of the transaction that is still doing it.
    response json,
    created_at timestamptz not null default now()
);

-- One row for each command service. It holds a position of the primary's WAL and travels to the replica like any
-- other row: where it is visible, every commit before that position is visible too.
create table tandem.watermark (
    writer text primary key
        constraint watermark_writer_check check (char_length(writer) between 1 and 200),
    system_identifier bigint not null,
    timeline integer not null,
    lsn pg_lsn not null,
    written_at timestamptz not null
);

grant usage on schema tandem to tandem_command, tandem_replication;
grant select, insert, update, delete on tandem.request_id to tandem_command;
grant select, insert, update, delete on tandem.watermark to tandem_command;
grant select on tandem.watermark to tandem_replication;

reset role;

reset role;
