-- Written before a replication slot is made on the primary and gone with the subscription's creation: whoever is killed
-- in between finds here that the slot is its own and not another replica's.

set local role tandem_owner;

create table tandem.subscribing (
    subscription text primary key,
    -- Whose slot: that of another primary is another replica's, whatever its name.
    system_identifier bigint not null,
    -- Where the slot began, once it was made. It stays there until the slot is used.
    slot_lsn pg_lsn
);

comment on table tandem.subscribing is 'Slots that this replica has begun to make and does not use yet.';

reset role;
