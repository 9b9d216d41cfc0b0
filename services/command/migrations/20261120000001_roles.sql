-- Who may do what on the primary. Passwords are not set here: `tandem-command migrate` sets those it is given.

do $$
declare
    wanted text;
begin
    -- tandem_owner owns the schema and can't log in; tandem_command writes sales; tandem_replication
    -- streams them to replicas; tandem_monitor may only connect: positions, publications and slots are open to
    -- everyone who can, and no sale is.
    foreach wanted in array array['tandem_owner', 'tandem_command', 'tandem_replication', 'tandem_monitor'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
            execute format('create role %I', wanted);
        end if;
    end loop;
end
$$;

alter role tandem_owner nologin;
alter role tandem_command login;
alter role tandem_replication login replication;
alter role tandem_monitor login;

do $$
begin
    execute format('revoke all on database %I from public', current_database());
    execute format(
        'grant connect on database %I to tandem_command, tandem_replication, tandem_monitor', current_database()
    );
end
$$;

create schema sales authorization tandem_owner;
create schema tandem authorization tandem_owner;

comment on schema sales is 'Sales transactions: what callers see.';
comment on schema tandem is 'Machinery of the write side: request ids and watermarks.';
