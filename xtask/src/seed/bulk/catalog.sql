-- Everything that makes tables what they are, a line each, by name and never by oid: equal before and after.
select line
from (
    select format(
        'table %s owner %s persistence %s identity %s row security %s%s access %s options %s: %s',
        class.oid::regclass, pg_get_userbyid(class.relowner), class.relpersistence, class.relreplident,
        class.relrowsecurity, class.relforcerowsecurity, class.relacl, class.reloptions,
        obj_description(class.oid, 'pg_class')
    ) as line
    from pg_class as class
    where class.oid = any ($1::text[]::regclass[])

    union all
    select format(
        'column %s %s %s %s not null %s default %s statistics %s access %s options %s: %s',
        attribute.attrelid::regclass, attribute.attnum, attribute.attname,
        format_type(attribute.atttypid, attribute.atttypmod), attribute.attnotnull,
        pg_get_expr(def.adbin, def.adrelid), attribute.attstattarget, attribute.attacl, attribute.attoptions,
        col_description(attribute.attrelid, attribute.attnum)
    )
    from pg_attribute as attribute
    left join pg_attrdef as def on def.adrelid = attribute.attrelid and def.adnum = attribute.attnum
    where attribute.attrelid = any ($1::text[]::regclass[]) and attribute.attnum > 0

    union all
    select format(
        'constraint %s %s %s %s validated %s deferrable %s%s: %s',
        con.conrelid::regclass, con.conname, con.contype, pg_get_constraintdef(con.oid), con.convalidated,
        con.condeferrable, con.condeferred, obj_description(con.oid, 'pg_constraint')
    )
    from pg_constraint as con
    where con.conrelid = any ($1::text[]::regclass[]) or con.confrelid = any ($1::text[]::regclass[])

    union all
    select format(
        'index %s owner %s valid %s ready %s live %s primary %s unique %s immediate %s clustered %s identity %s '
        'tablespace %s options %s: %s',
        pg_get_indexdef(index.indexrelid), pg_get_userbyid(class.relowner), index.indisvalid, index.indisready,
        index.indislive, index.indisprimary, index.indisunique, index.indimmediate, index.indisclustered,
        index.indisreplident, class.reltablespace, class.reloptions, obj_description(class.oid, 'pg_class')
    )
    from pg_index as index
    join pg_class as class on class.oid = index.indexrelid
    where index.indrelid = any ($1::text[]::regclass[])

    union all
    -- The names of a foreign key's triggers hold oids, so these go by what they belong to.
    select format(
        'trigger %s %s enabled %s times %s',
        trigger.tgrelid::regclass,
        case when trigger.tgisinternal
            then format('of %s calls %s type %s', con.conname, trigger.tgfoid::regproc, trigger.tgtype)
            else pg_get_triggerdef(trigger.oid)
        end,
        trigger.tgenabled, count(*)
    )
    from pg_trigger as trigger
    left join pg_constraint as con on con.oid = trigger.tgconstraint
    where trigger.tgrelid = any ($1::text[]::regclass[])
    group by trigger.oid, trigger.tgrelid, trigger.tgisinternal, trigger.tgfoid, trigger.tgtype, trigger.tgenabled,
        con.conname

    union all
    select format(
        'publication %s table %s columns %s where %s', publication.pubname, member.prrelid::regclass,
        member.prattrs, pg_get_expr(member.prqual, member.prrelid)
    )
    from pg_publication_rel as member
    join pg_publication as publication on publication.oid = member.prpubid
    where member.prrelid = any ($1::text[]::regclass[])

    union all
    select format(
        'subscription %s enabled %s table %s state %s', subscription.subname, subscription.subenabled,
        member.srrelid::regclass, member.srsubstate
    )
    from pg_subscription_rel as member
    join pg_subscription as subscription on subscription.oid = member.srsubid
    where member.srrelid = any ($1::text[]::regclass[])
) as found
order by line
