-- What makes table $1 (its oid) besides its columns: `before` for the copy that is built in schema $2 under the same name,
-- `after` for when that copy has taken the table's place; and what forbids that.
select
    array(
        select format('alter table only %I.%I add constraint %I %s', $2::text, class.relname, conname,
            pg_get_constraintdef(pg_constraint.oid))
        from pg_constraint
        where conrelid = class.oid and contype in ('p', 'u', 'x')
        order by contype, conname
    )
    || array(
        select replace(
            pg_get_indexdef(indexrelid),
            format(' ON %I.%I USING ', namespace.nspname, class.relname),
            format(' ON %I.%I USING ', $2::text, class.relname)
        )
        from pg_index
        where indrelid = class.oid and not exists (select from pg_constraint where conindid = indexrelid)
        order by indexrelid
    )
    || array(
        select format('grant %s on %I.%I to %s', granted.privilege_type, $2::text, class.relname,
            case granted.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(granted.grantee)) end)
        from aclexplode(class.relacl) as granted
        where granted.grantee <> class.relowner
    )
    || array(
        select format('alter table %I.%I set (%I = %L)', $2::text, class.relname, split_part(given, '=', 1),
            substr(given, strpos(given, '=') + 1))
        from unnest(class.reloptions) as given
    )
    || array(
        select format('comment on table %I.%I is %L', $2::text, class.relname, obj_description(class.oid, 'pg_class'))
        where obj_description(class.oid, 'pg_class') is not null
    )
    || format('alter table %I.%I owner to %I', $2::text, class.relname, pg_get_userbyid(class.relowner)) as before,
    array(
        select pg_get_triggerdef(oid) from pg_trigger where tgrelid = class.oid and not tgisinternal order by tgname
    )
    || array(
        select format('alter table %I.%I %s trigger %I', namespace.nspname, class.relname,
            case tgenabled when 'A' then 'enable always' when 'R' then 'enable replica' else 'disable' end, tgname)
        from pg_trigger
        where tgrelid = class.oid and not tgisinternal and tgenabled <> 'O'
    ) as after,
    array(
        select distinct format('%s depends on it', pg_describe_object(classid, objid, objsubid))
        from pg_depend
        where deptype = 'n'
            and (
                refclassid = 'pg_class'::regclass and refobjid = class.oid
                or refclassid = 'pg_type'::regclass and refobjid = class.reltype
            )
            and not (classid = 'pg_constraint'::regclass and objid in (
                select oid from pg_constraint where conrelid = class.oid and contype <> 'f'
            ))
            and not (classid = 'pg_trigger'::regclass and objid in (select oid from pg_trigger where tgrelid = class.oid))
    )
    || array(select 'it has foreign keys' from pg_constraint where conrelid = class.oid and contype = 'f' limit 1)
    || array(select 'it has row policies' from pg_policy where polrelid = class.oid limit 1)
    || array(select 'it inherits' from pg_inherits where class.oid in (inhrelid, inhparent) limit 1)
    || array(select 'this replica publishes it' from pg_publication_rel where prrelid = class.oid limit 1)
    || array(
        select 'there are privileges on its columns' from pg_attribute
        where attrelid = class.oid and attacl is not null limit 1
    ) as hindrances
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
where class.oid::bigint = $1
