//! The clusters of a local pair change places on disk, so that `cargo xtask up` starts them the right way round.

use std::fs;
use std::path::Path;

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::down::stop_pair;
use crate::places::{RunDirectory, remove_if_there, write_atomically};
use crate::postgres::{ADMIN_ROLE, DEMOTED, Login, Passwords, ReplicaNumber};
use crate::running::RunState;

/// Which replica was promoted; there until the clusters have changed places.
const MARKER: &str = "promoted";

pub(super) const LEFT_TO_DO: &str = "the pair was stopped, and its clusters have changed places.\n\
    left to do: `cargo xtask up` starts the new primary where the old one was, and makes replicas anew from it (--replicas N \
    where there were several). The old primary lies in `demoted` in the run directory, until `cargo xtask reset`.";

/// Stops the pair, and puts the promoted cluster into the primary's place. Killed behind its beginning, it is ended by the
/// next `up`.
pub(super) async fn run(state: &RunState, promoted: ReplicaNumber) -> anyhow::Result<()> {
    let directory = RunDirectory::open()?;
    let passwords = Passwords::load_or_create(&directory.path().join("passwords"))?;
    // Its administrator is known by the primary's password from now on.
    let set_password = async {
        let mut admin = PgConnection::connect(&state.replica_of(promoted)?.server.admin_url).await?;
        let quoted: String = sqlx::query_scalar("select format('alter role %I password %L', $1::text, $2::text)")
            .bind(ADMIN_ROLE)
            .bind(passwords.expose(Login::PrimaryAdmin))
            .fetch_one(&mut admin)
            .await?;
        // Who is killed here has said it once already.
        sqlx::raw_sql(AssertSqlSafe(quoted)).execute(&mut admin).await?;
        anyhow::Ok(admin.close().await?)
    };
    // The replica's own no longer holds where this was done in a run before.
    if let Err(error) = set_password.await
        && !refuses_the_password(&error)
    {
        return Err(error).context("the new primary's administrator can't be given the primary's password");
    }
    remove_if_there(&directory.path().join(DEMOTED))?;
    write_atomically(&directory.path().join(MARKER), promoted.to_string().as_bytes(), 0o600)?;
    stop_pair(&directory).await?;
    finish(directory.path())
}

/// `invalid_password`.
fn refuses_the_password(error: &anyhow::Error) -> bool {
    let database = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    database.and_then(sqlx::error::DatabaseError::code).as_deref() == Some("28P01")
}

/// Ends what was begun; nothing where nothing was. No server of the pair runs. Each step tells by what is there whether it
/// was done. What the replicas hold is of the old primary: `up` makes them anew.
pub(crate) fn finish(directory: &Path) -> anyhow::Result<()> {
    let marker = directory.join(MARKER);
    let Ok(number) = fs::read_to_string(&marker) else { return Ok(()) };
    let promoted = ReplicaNumber::new(number.trim().parse().context("the file `promoted` holds no number")?)?;
    let (primary, demoted) = (directory.join("primary"), directory.join(DEMOTED));
    let replica = directory.join(promoted.cluster());
    if !demoted.exists() {
        fs::rename(&primary, &demoted).with_context(|| format!("{} can't be moved", primary.display()))?;
    }
    if !primary.exists() {
        fs::rename(&replica, &primary).with_context(|| format!("{} can't be moved", replica.display()))?;
    }
    for number in ReplicaNumber::all() {
        remove_if_there(&directory.join(number.cluster()))?;
    }
    remove_if_there(&marker)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(directory: &Path, name: &str) -> Option<String> {
        fs::read_to_string(directory.join(name).join("data")).ok()
    }

    #[test]
    fn an_exchange_that_was_killed_at_any_moment_is_ended_by_the_next_one() {
        for done_before in 0..3 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path();
            for name in ["primary", "replica", "replica-2"] {
                fs::create_dir(path.join(name)).unwrap();
                fs::write(path.join(name).join("data"), name).unwrap();
            }
            fs::write(path.join(MARKER), "2").unwrap();
            if done_before > 0 {
                fs::rename(path.join("primary"), path.join(DEMOTED)).unwrap();
            }
            if done_before > 1 {
                fs::rename(path.join("replica-2"), path.join("primary")).unwrap();
            }
            for _ in 0..2 {
                finish(path).unwrap();
                assert_eq!(content(path, "primary").as_deref(), Some("replica-2"), "{done_before}");
                assert_eq!(content(path, DEMOTED).as_deref(), Some("primary"));
                assert_eq!(content(path, "replica"), None);
            }
        }
    }
}
