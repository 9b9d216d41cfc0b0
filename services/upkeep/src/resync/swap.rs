//! What was built takes the old tables' places, in one database transaction.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, Transaction};
use tandem_convergence::Side;
use tandem_replication::Lsn;
use tokio::time::sleep;

use super::construction::Construction;
use super::shadow::{SCHEMA, Shadow};
use crate::error::{UpkeepError, on};
use crate::sides::{Sides, Step};
use crate::table::{Table, quoted, relation};

/// A lock is waited for so long, and everybody who comes after it waits, too: less than `deadlock_timeout`, by default a
/// second, so that nobody is ended for having met us.
const LOCK_TIMEOUT_MS: u32 = 200;
/// After a lock that was not to be had. Readers are short, a step of the folder may take seconds.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);
/// Half a minute of attempts: who reads for longer is told of.
const ATTEMPTS: usize = 60;

const SWAPPING: &str = "swapping tables";

/// Whether a lock was not to be had in time, or a deadlock was met: worth another attempt.
fn is_in_use(error: &UpkeepError) -> bool {
    let UpkeepError::Query { source, .. } = error else { return false };
    let code = source.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

/// Swaps while the stream goes on. It stands still for as long as it takes to bring what was built to where the stream is:
/// the old tables are locked against writing before that is read, so that none of their changes can be under way.
pub(super) async fn in_stream(
    sides: &mut Sides,
    construction: &mut Construction,
    observe: &(impl Fn(&Step) + Sync),
) -> Result<(), UpkeepError> {
    let mut writer = sides.another_replica().await?;
    for _ in 0..ATTEMPTS {
        // Nearly all of it before anybody has to wait.
        let applied = sides.applied().await?;
        construction.advance(&mut sides.primary, &mut sides.replica, applied).await?;
        observe(&Step::Swapping(labels(construction)));
        match attempt_in_stream(sides, &mut writer, construction).await {
            Err(error) if is_in_use(&error) => sleep(BETWEEN_ATTEMPTS).await,
            done => return done,
        }
    }
    Err(UpkeepError::InUse { table: labels(construction) })
}

async fn attempt_in_stream(
    sides: &mut Sides,
    writer: &mut PgConnection,
    construction: &mut Construction,
) -> Result<(), UpkeepError> {
    let failed = on(Side::Replica, SWAPPING);
    let mut transaction = begin(writer).await?;
    // All tables of the subscription: an apply transaction that waits for us then holds nothing that we may want.
    let subscribed: Vec<String> = sqlx::query_scalar(
        "
        select format('%I.%I', namespace.nspname, class.relname)
        from pg_subscription_rel as subscribed
        join pg_class as class on class.oid = subscribed.srrelid
        join pg_namespace as namespace on namespace.oid = class.relnamespace
        join pg_subscription as subscription on subscription.oid = subscribed.srsubid
        where subscription.subname = $1
            and subscription.subdbid = (select oid from pg_database where datname = current_database())
        order by 1
        ",
    )
    .bind(&sides.addresses.subscription)
    .fetch_all(&mut *transaction)
    .await
    .map_err(failed)?;
    lock(&mut transaction, &subscribed, "share row exclusive").await?;
    let applied = sides.applied().await?;
    construction.advance(&mut sides.primary, &mut sides.replica, applied).await?;
    exchange(&mut transaction, construction, &sides.addresses.subscription).await?;
    transaction.commit().await.map_err(failed)
}

/// Swaps while nothing is applied. That the stream has to go on behind `position` is written down with it.
pub(super) async fn at_rest(
    sides: &mut Sides,
    construction: &mut Construction,
    position: Lsn,
    observe: &(impl Fn(&Step) + Sync),
) -> Result<(), UpkeepError> {
    let mut writer = sides.another_replica().await?;
    observe(&Step::Swapping(labels(construction)));
    for _ in 0..ATTEMPTS {
        match attempt_at_rest(&mut writer, construction, &sides.addresses.subscription, position).await {
            Err(error) if is_in_use(&error) => sleep(BETWEEN_ATTEMPTS).await,
            done => return done,
        }
    }
    Err(UpkeepError::InUse { table: labels(construction) })
}

async fn attempt_at_rest(
    writer: &mut PgConnection,
    construction: &Construction,
    subscription: &str,
    position: Lsn,
) -> Result<(), UpkeepError> {
    let failed = on(Side::Replica, SWAPPING);
    let mut transaction = begin(writer).await?;
    exchange(&mut transaction, construction, subscription).await?;
    sqlx::query("insert into tandem.rebuilt (subscription, lsn) values ($1, $2)")
        .bind(subscription)
        .bind(position)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

async fn begin(writer: &mut PgConnection) -> Result<Transaction<'_, Postgres>, UpkeepError> {
    let begin = format!("begin; set local lock_timeout = {LOCK_TIMEOUT_MS}");
    writer.begin_with(AssertSqlSafe(begin)).await.map_err(on(Side::Replica, SWAPPING))
}

async fn lock(replica: &mut PgConnection, tables: &[String], mode: &str) -> Result<(), UpkeepError> {
    let lock = format!("lock table {} in {mode} mode", tables.join(", "));
    let locked = sqlx::raw_sql(AssertSqlSafe(lock)).execute(replica).await;
    locked.map(drop).map_err(on(Side::Replica, SWAPPING))
}

/// The old tables are emptied before they go: what hangs on that (rollups, watchers) learns that all rows of theirs are
/// gone, and takes those of the new ones as new.
async fn exchange(
    replica: &mut PgConnection,
    construction: &Construction,
    subscription: &str,
) -> Result<(), UpkeepError> {
    let failed = on(Side::Replica, SWAPPING);
    let shadows = &construction.shadows;
    let old: Vec<String> = shadows.iter().map(|shadow| shadow.table.relation()).collect();
    lock(replica, &old, "access exclusive").await?;
    for shadow in shadows {
        let now = Table::find(replica, &shadow.table.schema, &shadow.table.name).await.map_err(failed)?;
        if now.is_none_or(|now| now.oid != shadow.table.oid || now.columns != shadow.table.columns) {
            let why = "it was changed meanwhile: run this again".to_owned();
            return Err(UpkeepError::Unfit { table: shadow.table.label(), why });
        }
        subscribe(replica, shadow, subscription).await.map_err(failed)?;
        let place = relation(SCHEMA, &shadow.table.name);
        let schema = quoted(&shadow.table.schema);
        let old = shadow.table.relation();
        let moves = [
            format!("truncate {old}"),
            format!("drop table {old}"),
            format!("alter table {place} set schema {schema}"),
        ];
        for statement in moves.iter().chain(&shadow.after) {
            sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *replica).await.map_err(failed)?;
        }
    }
    Ok(())
}

/// The subscription goes on with the new table. PostgreSQL has no statement for it that could stand in this transaction:
/// REFRESH PUBLICATION can't, and by itself it would skip what comes between the two.
async fn subscribe(replica: &mut PgConnection, shadow: &Shadow, subscription: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "
        with subscribed as (
            select oid from pg_subscription
            where subname = $1 and subdbid = (select oid from pg_database where datname = current_database())
        ), gone as (
            delete from pg_subscription_rel
            where srsubid = (select oid from subscribed) and srrelid::bigint = $2
        )
        insert into pg_subscription_rel (srsubid, srrelid, srsubstate, srsublsn)
        select subscribed.oid, $3::text::regclass, 'r', null from subscribed
        ",
    )
    .bind(subscription)
    .bind(shadow.table.oid)
    .bind(shadow.relation())
    .execute(replica)
    .await
    .map(drop)
}

fn labels(construction: &Construction) -> String {
    construction.shadows.iter().map(|shadow| shadow.table.label()).collect::<Vec<_>>().join(", ")
}
