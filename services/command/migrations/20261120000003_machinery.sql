set local role tandem_owner;

-- The first answer to each request id, so that a retry gets it again. Of a new sale only what the command service made up
-- is kept: the rest is in the retry itself, whose content is the same.
create table tandem.request_id (
    request_id uuid primary key,
    payload_hash bytea not null
        constraint request_id_payload_hash_check check (octet_length(payload_hash) = 32),
    created_at timestamptz not null,
    -- A new sale's id and its items' ids, 16 bytes each; null for other commands.
    transaction_id uuid,
    item_ids bytea,
    -- What another command did; null for a new sale, and inside of the transaction that is still doing it.
    outcome json
);

-- Old ids are removed in the order in which they came, which is the order on disk: a block range index is enough, and
-- costs an insert next to nothing.
create index request_id_created_at_idx on tandem.request_id using brin (created_at) with (autosummarize = on);

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
