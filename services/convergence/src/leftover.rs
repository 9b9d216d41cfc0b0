//! Slots of verifiers that are gone.
//!
//! A verifier's slot is a temporary one: it goes with its session, and the session with the verifier, at the latest half
//! a minute after a network broke between them. Where a session hangs on, or where somebody made a slot of such a name that
//! is not temporary, it would hold back the primary's log, so whoever verifies next takes it away.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use sqlx::{PgConnection, Row};
use tandem_replication::VERIFIER_PREFIX;

/// A verifier at work speaks to its slot's session at least every few seconds. One that has been silent for so long is gone.
pub const SILENT_FOR: Duration = Duration::from_secs(60);

/// A slot of a verifier that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// The slot.
    pub slot: String,
    /// The session that holds it; absent where nobody does.
    pub pid: Option<i32>,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, pid } = self;
        match pid {
            Some(pid) => write!(f, "slot {slot} is held by a verifier that is gone (process {pid}): ")?,
            None => write!(f, "slot {slot} was left by a verifier that is gone: ")?,
        }
        f.write_str("whoever verifies next takes it away")
    }
}

/// Slots of verifiers that nobody has spoken to for `silent_for`, or that no session holds.
///
/// # Errors
///
/// The primary did not answer.
pub async fn find(primary: &mut PgConnection, silent_for: Duration) -> Result<Vec<Leftover>, sqlx::Error> {
    let query = "
        select slot.slot_name::text as slot, slot.active_pid as pid
        from pg_catalog.pg_replication_slots as slot
        left join pg_catalog.pg_stat_activity as session on session.pid = slot.active_pid
        where starts_with(slot.slot_name::text, $1)
          and (
              session.pid is null
              or session.state is distinct from 'active'
                  and session.state_change < clock_timestamp() - make_interval(secs => $2))
        order by 1";
    let rows = sqlx::query(query).bind(VERIFIER_PREFIX).bind(silent_for.as_secs_f64()).fetch_all(&mut *primary).await?;
    rows.into_iter().map(|row| Ok(Leftover { slot: row.try_get("slot")?, pid: row.try_get("pid")? })).collect()
}

/// Takes such slots away, with the sessions that hold them, and names them.
///
/// # Errors
///
/// The primary did not answer, or the role may not do it.
pub async fn drop_all(primary: &mut PgConnection, silent_for: Duration) -> Result<Vec<Leftover>, sqlx::Error> {
    let found = find(primary, silent_for).await?;
    for leftover in &found {
        match leftover.pid {
            // Its slot goes with it.
            Some(pid) => {
                sqlx::query("select pg_catalog.pg_terminate_backend($1, 5000)")
                    .bind(pid)
                    .execute(&mut *primary)
                    .await?;
            }
            None => {
                // Unless somebody else has been faster.
                let drop = "
                    select pg_catalog.pg_drop_replication_slot(slot_name)::text
                    from pg_catalog.pg_replication_slots
                    where slot_name = $1 and active_pid is null";
                sqlx::query(drop).bind(&leftover.slot).execute(&mut *primary).await?;
            }
        }
    }
    Ok(found)
}
