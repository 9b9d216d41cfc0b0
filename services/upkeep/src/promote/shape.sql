-- All that makes a table what it is besides its rows, as JSON. $1: schema, $2: name.
select jsonb_build_object(
    'owner', pg_get_userbyid(class.relowner),
    'comment', obj_description(class.oid, 'pg_class'),
    'options', coalesce(to_jsonb(class.reloptions), '[]'),
    'replica_identity', class.relreplident,
    'columns', coalesce((
        select jsonb_agg(
            jsonb_build_object(
                'name', attname,
                'data_type', format_type(atttypid, atttypmod),
                'not_null', attnotnull,
                'default', pg_get_expr(adbin, adrelid),
                'storage', case attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end,
                'comment', col_description(attrelid, attnum)
            )
            order by attnum
        )
        from pg_attribute
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where attrelid = class.oid and attnum > 0 and not attisdropped
    ), '[]'),
    -- Of NOT NULL, which newer servers count among them, the column tells.
    'constraints', coalesce((
        select jsonb_object_agg(conname, pg_get_constraintdef(oid))
        from pg_constraint
        where conrelid = class.oid and contype in ('c', 'f', 'p', 'u', 'x')
    ), '{}'),
    'indexes', coalesce((
        select jsonb_object_agg(index.relname, pg_get_indexdef(indexrelid))
        from pg_index
        join pg_class as index on index.oid = indexrelid
        where indrelid = class.oid and not exists (select from pg_constraint where conindid = indexrelid and contype <> 'f')
    ), '{}'),
    -- Each with how it is enabled.
    'triggers', coalesce((
        select jsonb_object_agg(
            tgname,
            jsonb_build_array(
                pg_get_triggerdef(oid),
                case tgenabled when 'A' then 'enable always' when 'R' then 'enable replica' when 'D' then 'disable' else 'enable' end
            )
        )
        from pg_trigger
        where tgrelid = class.oid and not tgisinternal
    ), '{}'),
    -- What others than the owner may.
    'grants', coalesce((
        select jsonb_agg(
            format('%s on %I.%I to %s%s', granted.privilege_type, namespace.nspname, class.relname,
                case granted.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(granted.grantee)) end,
                case when granted.is_grantable then ' with grant option' else '' end)
            order by granted.privilege_type, pg_get_userbyid(granted.grantee)
        )
        from aclexplode(class.relacl) as granted
        where granted.grantee <> class.relowner
    ), '[]'),
    'hindrances', to_jsonb(
        array(
            select format('its column %s is generated or an identity', attname) from pg_attribute
            where attrelid = class.oid and attnum > 0 and (attgenerated <> '' or attidentity <> '')
        )
        || array(
            select format('there are privileges on its column %s', attname) from pg_attribute
            where attrelid = class.oid and attnum > 0 and attacl is not null
        )
        || array(
            select format('the default of its column %s uses a sequence', attname)
            from pg_attrdef
            join pg_attribute on attrelid = adrelid and attnum = adnum
            where adrelid = class.oid and pg_get_expr(adbin, adrelid) like '%nextval(%'
        )
        || array(select 'it has row policies' from pg_policy where polrelid = class.oid limit 1)
        || array(select 'it inherits' from pg_inherits where class.oid in (inhrelid, inhparent) limit 1)
        || array(select 'it has rules' from pg_rewrite where ev_class = class.oid limit 1)
    )
) as shape
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
where namespace.nspname = $1 and class.relname = $2 and class.relkind = 'r'
