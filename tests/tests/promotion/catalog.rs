//! Everything that a primary's catalogs say of it, as text.

use sqlx::PgConnection;

/// One line for each thing, whatever made it.
const CATALOG: &str = r"
with own as (
    select oid, nspname from pg_namespace where nspname in ('sales', 'tandem')
), lines as (
    select format('schema %s of %s %s %s', nspname, pg_get_userbyid(nspowner), nspacl::text, obj_description(oid, 'pg_namespace')) as line
    from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
    union all
    select format('relation %s %s of %s %s %s %s %s', class.oid::regclass, relkind, pg_get_userbyid(relowner),
        array(select privilege::text from unnest(relacl) as privilege order by 1)::text,
        relreplident, reloptions::text, obj_description(class.oid, 'pg_class'))
    from pg_class as class join own on own.oid = relnamespace where relkind <> 'i'
    union all
    select format('column %s %s %s %s %s %s %s %s', attrelid::regclass, row_number() over (partition by attrelid order by attnum), attname,
        format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), attstorage, attacl::text)
    from pg_attribute join pg_class as class on class.oid = attrelid join own on own.oid = relnamespace
    left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where attnum > 0 and not attisdropped and relkind <> 'i'
    union all
    select format('constraint %s %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(pg_constraint.oid), convalidated)
    from pg_constraint join own on own.oid = connamespace
    union all
    select format('index %s %s %s', pg_get_indexdef(indexrelid), indisvalid, indisreplident)
    from pg_index join pg_class as class on class.oid = indrelid join own on own.oid = relnamespace
    union all
    select format('trigger %s %s', pg_get_triggerdef(pg_trigger.oid), tgenabled)
    from pg_trigger join pg_class as class on class.oid = tgrelid join own on own.oid = relnamespace where not tgisinternal
    union all
    select format('view %s %s', class.oid::regclass, pg_get_viewdef(class.oid))
    from pg_class as class join own on own.oid = relnamespace where relkind = 'v'
    union all
    select format('function %s of %s %s %s', pg_proc.oid::regprocedure, pg_get_userbyid(proowner), proacl::text, pg_get_functiondef(pg_proc.oid))
    from pg_proc join own on own.oid = pronamespace
    union all
    select format('type %s %s', pg_type.oid::regtype, typtype)
    from pg_type join own on own.oid = typnamespace where typtype <> 'b'
    union all
    select format('publication %s %s %s %s %s', pubname, pubinsert, pubupdate, pubdelete, pubtruncate) from pg_publication
    union all
    select format('published %s.%s %s %s', schemaname, tablename, attnames::text, rowfilter) from pg_publication_tables
    union all
    select format('subscription %s', subname) from pg_subscription
    union all
    select format('role %s %s %s', rolname, rolcanlogin, rolreplication) from pg_roles
    where rolname in ('tandem_owner', 'tandem_command', 'tandem_replication', 'tandem_monitor')
    union all
    select format('database %s', array(select privilege::text from unnest(datacl) as privilege order by 1)::text)
    from pg_database where datname = current_database()
    union all
    select format('migration %s %s %s', version, description, checksum) from public._sqlx_migrations where success
)
select line from lines order by line
";

pub async fn catalog(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(CATALOG).fetch_all(connection).await.unwrap()
}

/// Lines that one of them lacks.
pub fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let lost = before.iter().filter(|line| !after.contains(line)).map(|line| format!("lost: {line}"));
    let gained = after.iter().filter(|line| !before.contains(line)).map(|line| format!("gained: {line}"));
    lost.chain(gained).collect()
}
