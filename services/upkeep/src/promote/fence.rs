//! Nobody writes to the old primary: what the command service is refused, and what everybody else waits for.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tandem_convergence::Side;
use tandem_replication::Position;
use tokio::time::{Instant, sleep};

use crate::error::{UpkeepError, on};
use crate::table::relation;

/// Who writes sales.
pub(super) const WRITER: &str = "tandem_command";
/// Begins the comment on the role that says since when it may not log in. Who finds the role without it knows that
/// somebody else has locked it out, for reasons of his own.
const FENCED: &str = "Fenced by promote since ";
/// Begins the comment once there is no way back.
const DEMOTED: &str = "Demoted by promote: ";
/// Between looks at whether sessions are gone.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// A session ends within milliseconds of being told to, unless its machine is in a bad way.
const SESSIONS_END: Duration = Duration::from_secs(10);
/// Others than the command service write for so long at most: their callers wait behind us, and so does every command.
const LOCK_TIMEOUT_MS: u32 = 3_000;

const FENCING: &str = "locking writers out";

/// Whether the command service's role may log in, and if not, since when we have locked it out.
pub(super) enum Fence {
    Open,
    Ours(DateTime<Utc>),
    /// No way back: a replica of it is the primary.
    Demoted,
    Others,
}

pub(super) async fn look(primary: &mut PgConnection) -> Result<Fence, UpkeepError> {
    let failed = on(Side::Primary, "reading its roles");
    let (may_login, comment): (bool, Option<String>) =
        sqlx::query_as("select rolcanlogin, shobj_description(oid, 'pg_authid') from pg_roles where rolname = $1")
            .bind(WRITER)
            .fetch_optional(&mut *primary)
            .await
            .map_err(failed)?
            .ok_or_else(|| UpkeepError::Unpromotable { why: vec![format!("the primary has no role {WRITER}")] })?;
    if may_login {
        return Ok(Fence::Open);
    }
    let comment = comment.unwrap_or_default();
    if comment.starts_with(DEMOTED) {
        return Ok(Fence::Demoted);
    }
    let since = comment.strip_prefix(FENCED).and_then(|since| since.parse().ok());
    Ok(since.map_or(Fence::Others, Fence::Ours))
}

/// Locks the command service out, and ends its sessions. Callers are told to try again, as when the primary is away.
/// Since when nobody can write.
pub(super) async fn raise(primary: &mut PgConnection) -> Result<DateTime<Utc>, UpkeepError> {
    let failed = on(Side::Primary, FENCING);
    let since = match look(primary).await? {
        Fence::Ours(since) => since,
        Fence::Open => {
            let now: DateTime<Utc> =
                sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *primary).await.map_err(failed)?;
            let fence = format!(
                "begin; comment on role {WRITER} is '{FENCED}{}'; alter role {WRITER} nologin; commit",
                now.to_rfc3339()
            );
            sqlx::raw_sql(AssertSqlSafe(fence)).execute(&mut *primary).await.map_err(failed)?;
            now
        }
        Fence::Demoted | Fence::Others => return Err(UpkeepError::FencedByOthers { role: WRITER }),
    };
    let until = Instant::now() + SESSIONS_END;
    while end_sessions(primary, Side::Primary, WRITER).await? > 0 {
        if Instant::now() >= until {
            return Err(UpkeepError::StillWriting);
        }
        sleep(BETWEEN_LOOKS).await;
    }
    Ok(since)
}

/// How many there still were.
pub(super) async fn end_sessions(connection: &mut PgConnection, side: Side, role: &str) -> Result<i64, UpkeepError> {
    sqlx::query_scalar("select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = $1")
        .bind(role)
        .fetch_one(connection)
        .await
        .map_err(on(side, "ending sessions"))
}

/// Holds everybody else off, administrators too, for as long as the transaction is open that this leaves behind: nothing
/// that is published or carried can be written. The position behind everything that was written before.
pub(super) async fn hold(primary: &mut PgConnection) -> Result<Position, UpkeepError> {
    let failed = on(Side::Primary, FENCING);
    let tables: Vec<(String, String)> = sqlx::query_as(
        "
        select namespace.nspname::text, class.relname::text
        from pg_class as class
        join pg_namespace as namespace on namespace.oid = class.relnamespace
        where class.relkind = 'r' and (
            namespace.nspname in ('sales', 'tandem')
            or exists (
                select from pg_publication_rel
                join pg_publication as publication on publication.oid = prpubid
                where prrelid = class.oid and pubname = $1
            )
        )
        order by 1, 2
        ",
    )
    .bind(crate::sides::publication())
    .fetch_all(&mut *primary)
    .await
    .map_err(failed)?;
    let tables: Vec<String> = tables.iter().map(|(schema, name)| relation(schema, name)).collect();
    let hold = format!(
        "begin; set local idle_in_transaction_session_timeout = 0; set local lock_timeout = {LOCK_TIMEOUT_MS};
        lock table {} in share mode",
        tables.join(", ")
    );
    sqlx::raw_sql(AssertSqlSafe(hold)).execute(&mut *primary).await.map_err(|source| {
        let code = source.as_database_error().and_then(|error| error.code());
        if code.as_deref() == Some("55P03") { UpkeepError::StillWriting } else { failed(source) }
    })?;
    Position::current(primary).await.map_err(failed)
}

/// The primary's clock, of the session that holds writers off: an error where it does not any more.
pub(super) async fn held(holder: &mut PgConnection) -> Result<DateTime<Utc>, UpkeepError> {
    sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(holder)
        .await
        .map_err(on(Side::Primary, "making sure that nobody writes"))
}

/// Lets go of the tables once nobody waits for them any more: who did is told that his write has failed, and can't come to
/// write to what is no primary any more.
pub(super) async fn let_go(primary: &mut PgConnection, mut holder: PgConnection) -> Result<(), UpkeepError> {
    let failed = on(Side::Primary, "ending sessions that wait to write");
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut holder).await.map_err(failed)?;
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where usename = $1 or $2 = any(pg_blocking_pids(pid))";
    let until = Instant::now() + SESSIONS_END;
    loop {
        let waiting: i64 =
            sqlx::query_scalar(end).bind(WRITER).bind(pid).fetch_one(&mut *primary).await.map_err(failed)?;
        if waiting == 0 || Instant::now() >= until {
            break;
        }
        sleep(BETWEEN_LOOKS).await;
    }
    holder.close().await.map_err(failed)
}

/// Lets the command service in again. A role that somebody else has locked out stays so.
pub(super) async fn lift(primary: &mut PgConnection) -> Result<bool, UpkeepError> {
    let Fence::Ours(_) = look(primary).await? else { return Ok(false) };
    let lift = format!("begin; alter role {WRITER} login; comment on role {WRITER} is null; commit");
    let lifted = sqlx::raw_sql(AssertSqlSafe(lift)).execute(primary).await;
    lifted.map(|_| true).map_err(on(Side::Primary, "letting writers in again"))
}

/// There is no way back: neither writers nor replicas are let in any more.
pub(super) async fn demote(primary: &mut PgConnection, successor: i64) -> Result<(), UpkeepError> {
    let failed = on(Side::Primary, "locking replicas out");
    let demote = format!(
        "begin; alter role {WRITER} nologin; alter role tandem_replication nologin;
        comment on role {WRITER} is '{DEMOTED}system {successor} is the primary'; commit"
    );
    sqlx::raw_sql(AssertSqlSafe(demote)).execute(primary).await.map(drop).map_err(failed)
}
