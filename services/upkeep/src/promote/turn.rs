//! A replica becomes the primary, in one database transaction: who is killed leaves the one or the other.
//!
//! The machinery of a primary is made anew, by the very migrations that have made the old one. Tables with sales stay: they
//! are brought into the shape that the old primary's have, which is compared before the COMMIT.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tandem_convergence::Side;
use tandem_replication::Position;
use tokio::time::sleep;

use super::carry::Carried;
use super::fence;
use super::published::Published;
use super::record::Record;
use super::shape::Shape;
use super::survey::Survey;
use crate::error::{UpkeepError, on};
use crate::sides::{Sides, Step, publication};
use crate::table::{listed, quoted, relation};

/// The command service's own.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../command/migrations");

/// Where a replica's schemas go while a primary's are made, and with which they go.
const ASIDE: [(&str, &str); 2] = [("sales", "tandem_was_sales"), ("tandem", "tandem_was_machinery")];
/// Who reads from the replica. There is nothing for it on a primary.
const READER: &str = "tandem_query";
/// A lock is waited for so long before readers are ended again: writers wait as well by now.
const LOCK_TIMEOUT_MS: u32 = 500;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);
/// Half a minute in all: who reads for longer, and is not the query service, is told of.
const ATTEMPTS: usize = 50;

const TURNING: &str = "turning the replica into the primary";

/// What has to be true before: the position up to which the replica has everything, and how many rows were found equal.
pub(super) struct Proof {
    pub(super) fenced_at: chrono::DateTime<chrono::Utc>,
    pub(super) drained: Position,
    pub(super) applied: tandem_replication::Lsn,
    pub(super) rows_compared: i64,
}

/// Turns it. `holder` keeps everybody else from writing to the old primary.
pub(super) async fn turn(
    sides: &mut Sides,
    holder: &mut PgConnection,
    survey: &Survey,
    proof: &Proof,
    observe: &(impl Fn(&Step) + Sync),
) -> Result<Record, UpkeepError> {
    observe(&Step::Turning("locking the replica's tables".to_owned()));
    let failed = on(Side::Replica, TURNING);
    for _ in 0..ATTEMPTS {
        fence::end_sessions(&mut sides.replica, Side::Replica, READER).await?;
        let begin = format!("begin; set local lock_timeout = {LOCK_TIMEOUT_MS}");
        let mut transaction = sides.replica.begin_with(AssertSqlSafe(begin)).await.map_err(failed)?;
        match lock(&mut transaction, &survey.published).await {
            Ok(()) => {
                let (replica, primary) = (&mut *transaction, &mut sides.primary);
                become_primary(replica, &sides.addresses.subscription, &survey.published, observe).await?;
                let carried = carry(primary, replica, observe).await?;
                let record = close(primary, replica, holder, survey, proof, carried).await?;
                observe(&Step::Turning("committing".to_owned()));
                transaction.commit().await.map_err(failed)?;
                return Ok(record);
            }
            Err(error) if error.as_database_error().and_then(|error| error.code()).as_deref() == Some("55P03") => {
                transaction.rollback().await.map_err(failed)?;
                sleep(BETWEEN_ATTEMPTS).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(UpkeepError::InUse { table: "a table of the replica".to_owned() })
}

/// Everything that will be renamed, dropped or reshaped.
async fn lock(replica: &mut PgConnection, published: &[Published]) -> Result<(), sqlx::Error> {
    let schemas = ASIDE.map(|(schema, _)| schema.to_owned());
    let tables: Vec<(String, String)> = sqlx::query_as(
        "
        select namespace.nspname::text, class.relname::text
        from pg_class as class
        join pg_namespace as namespace on namespace.oid = class.relnamespace
        where class.relkind = 'r' and namespace.nspname = any($1)
        ",
    )
    .bind(&schemas[..])
    .fetch_all(&mut *replica)
    .await?;
    let mut tables: Vec<String> = tables.iter().map(|(schema, name)| relation(schema, name)).collect();
    tables.extend(published.iter().map(Published::relation));
    tables.sort();
    tables.dedup();
    let lock = format!("lock table {} in access exclusive mode; set local lock_timeout = 0", tables.join(", "));
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(replica).await.map(drop)
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), UpkeepError> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await;
    done.map(drop).map_err(on(Side::Replica, TURNING))
}

/// All but the rows that it never had.
async fn become_primary(
    replica: &mut PgConnection,
    subscription: &str,
    published: &[Published],
    observe: &(impl Fn(&Step) + Sync),
) -> Result<(), UpkeepError> {
    // Its slot is the old primary's to drop: a statement that does it could not stand in a transaction.
    let subscription = quoted(subscription);
    run(
        replica,
        format!(
            "alter subscription {subscription} disable; alter subscription {subscription} set (slot_name = none);
            drop subscription {subscription}; drop schema if exists tandem_resync cascade"
        ),
    )
    .await?;
    observe(&Step::Turning("making what a primary has".to_owned()));
    for (schema, aside) in ASIDE {
        run(replica, format!("alter schema {schema} rename to {aside}")).await?;
    }
    migrate(replica).await?;
    keep_machinery(replica, published).await?;
    let staying: Vec<&Published> = published.iter().filter(|table| table.stays()).collect();
    bring_in(replica, &staying).await?;
    observe(&Step::Turning("checking constraints".to_owned()));
    reshape(replica, &staying).await?;
    let listed: Vec<String> = published.iter().map(Published::listed).collect();
    run(replica, format!("alter publication {} set table {}", publication(), listed.join(", "))).await?;
    let gone = ASIDE.map(|(_, aside)| aside).join(", ");
    run(replica, format!("drop schema {gone} cascade; drop owned by {READER}; alter role {READER} nologin")).await
}

/// As `tandem-command migrate` would, which finds nothing to do afterwards.
async fn migrate(replica: &mut PgConnection) -> Result<(), UpkeepError> {
    let failed = on(Side::Replica, TURNING);
    run(replica, "delete from public._sqlx_migrations".to_owned()).await?;
    for migration in MIGRATIONS.iter() {
        sqlx::raw_sql(migration.sql.clone()).execute(&mut *replica).await.map_err(failed)?;
        run(replica, "reset role".to_owned()).await?;
        sqlx::query(
            "insert into public._sqlx_migrations (version, description, success, checksum, execution_time)
            values ($1, $2, true, $3, 0)",
        )
        .bind(migration.version)
        .bind(&*migration.description)
        .bind(&*migration.checksum)
        .execute(&mut *replica)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

/// Rows of the machinery's published tables. Watermarks are positions of another system: none is kept.
async fn keep_machinery(replica: &mut PgConnection, published: &[Published]) -> Result<(), UpkeepError> {
    let kept = published.iter().filter(|table| !table.stays() && table.label() != "tandem.watermark");
    for table in kept {
        let columns = listed("", table.shape.columns.iter().map(|column| &column.name));
        let was = relation(ASIDE[1].1, &table.name);
        run(replica, format!("insert into {} ({columns}) select {columns} from {was}", table.relation())).await?;
    }
    Ok(())
}

/// The replica's tables in the place of those that the migrations have made.
async fn bring_in(replica: &mut PgConnection, staying: &[&Published]) -> Result<(), UpkeepError> {
    let (schema, aside) = ASIDE[0];
    let of_sales: Vec<&&Published> = staying.iter().filter(|table| table.schema == schema).collect();
    let made: Vec<String> = of_sales.iter().map(|table| table.relation()).collect();
    if !made.is_empty() {
        // One that a migration does not make is an operator's own.
        run(replica, format!("drop table if exists {}", made.join(", "))).await?;
    }
    for table in of_sales {
        run(replica, format!("alter table {} set schema {schema}", relation(aside, &table.name))).await?;
    }
    Ok(())
}

/// What the old primary's tables are, these become, or nothing is committed.
async fn reshape(replica: &mut PgConnection, staying: &[&Published]) -> Result<(), UpkeepError> {
    let failed = on(Side::Replica, TURNING);
    let mut at_last = Vec::new();
    for table in staying {
        let own = Shape::find(replica, &table.schema, &table.name).await.map_err(failed)?;
        let Some(own) = own else { continue };
        let reshaping = own.reshaped(&table.shape, &table.schema, &table.name);
        for statement in reshaping.statements {
            run(replica, statement).await?;
        }
        at_last.extend(reshaping.at_last);
    }
    for statement in at_last {
        run(replica, statement).await?;
    }
    for table in staying {
        let own = Shape::find(replica, &table.schema, &table.name).await.map_err(failed)?;
        if own.as_ref() != Some(&table.shape) {
            let why = "the replica's could not be given the primary's shape".to_owned();
            return Err(UpkeepError::Unfit { table: table.label(), why });
        }
    }
    Ok(())
}

/// How many rows were carried.
async fn carry(
    primary: &mut PgConnection,
    replica: &mut PgConnection,
    observe: &(impl Fn(&Step) + Sync),
) -> Result<u64, UpkeepError> {
    // Foreign keys hold on the one side, and so on the other.
    run(replica, "set local session_replication_role = replica".to_owned()).await?;
    let mut rows = 0;
    for table in Carried::all(replica).await.map_err(on(Side::Replica, TURNING))? {
        rows += table.over(primary, replica, observe).await?;
    }
    run(replica, "set local session_replication_role = origin".to_owned()).await?;
    Ok(rows)
}

/// Passwords, positions, and the record of it all. Last of all, that nobody has written meanwhile.
async fn close(
    primary: &mut PgConnection,
    replica: &mut PgConnection,
    holder: &mut PgConnection,
    survey: &Survey,
    proof: &Proof,
    carried: u64,
) -> Result<Record, UpkeepError> {
    let failed = on(Side::Replica, TURNING);
    for statement in passwords(primary).await? {
        run(replica, statement).await?;
    }
    // Behind everything that the old positions stood behind, and of this system. What is visible to a replica's first copy
    // lies before it.
    let position = Position::current(&mut *replica).await.map_err(failed)?;
    for table in ["tandem.import", "tandem.batch_control"] {
        let move_over = format!(
            "update {table} set system_identifier = $1, timeline = $2, lsn = $3 where system_identifier is not null"
        );
        sqlx::query(AssertSqlSafe(move_over))
            .bind(position.identity.system_identifier)
            .bind(position.identity.timeline)
            .bind(position.lsn)
            .execute(&mut *replica)
            .await
            .map_err(failed)?;
    }
    let promoted_at = fence::held(holder).await?;
    let record = Record {
        system_identifier: position.identity.system_identifier,
        from_system_identifier: survey.from.identity.system_identifier,
        from_timeline: survey.from.identity.timeline,
        drained_lsn: proof.drained.lsn,
        applied_lsn: proof.applied,
        rows_compared: proof.rows_compared,
        rows_carried: i64::try_from(carried).unwrap_or(i64::MAX),
        fenced_at: proof.fenced_at,
        promoted_at,
    };
    record.keep(replica).await.map_err(failed)?;
    Ok(record)
}

/// The roles keep their passwords, as far as an administrator may read their verifiers.
async fn passwords(primary: &mut PgConnection) -> Result<Vec<String>, UpkeepError> {
    let failed = on(Side::Primary, "reading the verifiers of its roles' passwords");
    let readable = sqlx::query_scalar("select has_table_privilege('pg_authid', 'select')");
    if !readable.fetch_one(&mut *primary).await.map_err(failed)? {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(
        "select format('alter role %I password %L', rolname, rolpassword) from pg_authid
        where rolname in ('tandem_command', 'tandem_replication', 'tandem_monitor') and rolpassword is not null",
    )
    .fetch_all(primary)
    .await
    .map_err(failed)
}
