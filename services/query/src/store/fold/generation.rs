//! Generations of rollups: one that queries read, and at times one that is built beside it.

use sqlx::{Connection as _, PgConnection};

/// Of advisory locks on generations, beside whatever else locks by number in this database: "fold" in ASCII.
const LOCKS: i32 = 0x666f_6c64;
/// Rollups that are removed in one statement: a second's work.
const PORTION: i64 = 20_000;

/// The generation that queries read.
pub async fn current_generation(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!("select generation from tandem.fold where is_current").fetch_one(connection).await
}

/// Whether the rollups and the dates of rows are of this cluster. They are not after a dump was restored.
pub async fn is_of_this_cluster(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select bool_and(fold.system_identifier = control.system_identifier) as "is_of_this_cluster!"
        from tandem.fold
        cross join pg_catalog.pg_control_system() as control
        "#
    )
    .fetch_one(connection)
    .await
}

/// Dates all rows in this cluster, and empties the rollups. Nobody writes sales meanwhile; apply waits.
pub async fn begin_in_this_cluster(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("select tandem.begin_in_this_cluster()").execute(connection).await?;
    Ok(())
}

/// Whether this session may fold a generation now: one at a time does, until its connection ends.
pub async fn lock(connection: &mut PgConnection, generation: i32) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select pg_try_advisory_lock($1, $2) as "locked!""#, LOCKS, generation)
        .fetch_one(connection)
        .await
}

/// Begins a generation beside the current one, locked by this session, that holds nothing yet.
pub async fn add_generation(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let generation = sqlx::query_scalar!(
        r#"
        insert into tandem.fold (generation, is_current, system_identifier, folded_xid, sweep_xid)
        select max(generation) + 1, false, max(system_identifier), 0, 0 from tandem.fold
        returning generation
        "#
    )
    .fetch_one(&mut *transaction)
    .await?;
    // Before anybody else can see it: a generation that nobody holds is an abandoned one.
    lock(&mut transaction, generation).await?;
    transaction.commit().await?;
    Ok(generation)
}

/// From now on queries read this generation. What the others held is removed by [`remove_leftovers`].
pub async fn complete_generation(connection: &mut PgConnection, generation: i32) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query!("delete from tandem.fold where generation <> $1", generation).execute(&mut *transaction).await?;
    sqlx::query!("update tandem.fold set is_current = true where generation = $1", generation)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// Removes a portion of what abandoned and replaced generations have left; says how many rollups.
pub async fn remove_leftovers(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "
        delete from tandem.fold
        where not is_current
            and not exists (
                select from pg_catalog.pg_locks
                where locktype = 'advisory' and classid::bigint = $1 and objid::bigint = generation
                    and database = (select oid from pg_catalog.pg_database where datname = current_database())
            )
        ",
        i64::from(LOCKS),
    )
    .execute(&mut *connection)
    .await?;
    let removed = sqlx::query!(
        "
        delete from tandem.rollup
        where ctid = any(array(
            select rollup.ctid
            from tandem.rollup as rollup
            where rollup.generation in (
                -- The index knows the first and the last: between two there is at most one more.
                select generation
                from (select min(generation), max(generation) from tandem.rollup) as ends (first, last)
                cross join lateral (values (first), (last)) as present (generation)
                where generation not in (select generation from tandem.fold)
            )
            limit $1
        ))
        ",
        PORTION,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}
