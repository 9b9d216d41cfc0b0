-- What slows a load down and can be put back: how each is removed and restored, in the order of removal.
select removal, restoration
from (
    select
        1 as step,
        format('alter publication %I drop table %s', publication.pubname, member.prrelid::regclass) as removal,
        format(
            'alter publication %I add table %s%s%s', publication.pubname, member.prrelid::regclass,
            (
                select format(' (%s)', string_agg(quote_ident(attribute.attname), ', ' order by attribute.attnum))
                from pg_attribute as attribute
                where attribute.attrelid = member.prrelid and attribute.attnum = any (member.prattrs::int2[])
                having count(*) > 0
            ),
            ' where (' || pg_get_expr(member.prqual, member.prrelid) || ')'
        ) as restoration
    from pg_publication_rel as member
    join pg_publication as publication on publication.oid = member.prpubid
    where $2 and member.prrelid = any ($1::text[]::regclass[])

    union all
    -- Foreign keys first: the key that one refers to can't go before it.
    select
        case con.contype when 'f' then 2 else 4 end,
        format('alter table %s drop constraint %I', con.conrelid::regclass, con.conname),
        format('alter table %s add constraint %I %s', con.conrelid::regclass, con.conname, pg_get_constraintdef(con.oid))
    from pg_constraint as con
    where con.contype in ('f', 'p', 'u', 'x')
        and (con.conrelid = any ($1::text[]::regclass[]) or con.confrelid = any ($1::text[]::regclass[]))

    union all
    select 3, format('drop index %s', index.indexrelid::regclass), pg_get_indexdef(index.indexrelid)
    from pg_index as index
    where index.indrelid = any ($1::text[]::regclass[])
        and not exists (select from pg_constraint as con where con.conindid = index.indexrelid and con.contype <> 'f')
) as pieces
order by step, removal
