-- Who may do what on the replica: tandem_owner owns the schema and can't log in, tandem_query reads.
-- The password is not set here: `tandem-query migrate` sets it.

do $$
declare
    wanted text;
begin
    foreach wanted in array array['tandem_owner', 'tandem_query'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
            execute format('create role %I', wanted);
        end if;
    end loop;
end
$$;

alter role tandem_owner nologin;
alter role tandem_query login;
alter role tandem_query set default_transaction_read_only = on;

do $$
begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to tandem_query', current_database());
end
$$;

create schema sales authorization tandem_owner;
create schema tandem authorization tandem_owner;

comment on schema sales is 'Sales transactions, as replicated.';
comment on schema tandem is 'Machinery of the read side: watermarks.';
