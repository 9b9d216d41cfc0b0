//! The clusters of a local pair change places on disk, so that `cargo xtask up` starts them the right way round.

use std::fs;

use anyhow::{Context, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::down::stop_pair;
use crate::places::{RunDirectory, remove_if_there};
use crate::postgres::{ADMIN_ROLE, DEMOTED, Login, Passwords, ReplicaNumber};
use crate::running::RunState;
use crate::terminal;

pub(super) const LEFT_TO_DO: &str = "the pair was stopped, and its clusters have changed places.\n\
    left to do: `cargo xtask up` starts the new primary where the old one was, and makes the replicas anew from it. The old \
    primary lies in `demoted` in the run directory, until `cargo xtask reset`.";

/// Stops the pair, and puts the promoted cluster into the primary's place. What the replicas hold is of the old primary:
/// they are removed, and `up` makes them anew.
pub(super) async fn run(state: &RunState, promoted: ReplicaNumber) -> anyhow::Result<()> {
    let directory = RunDirectory::open()?;
    let passwords = Passwords::load_or_create(&directory.path().join("passwords"))?;
    let admin_url = &state.replica_of(promoted)?.server.admin_url;
    // Its administrator is known by the primary's password from now on.
    let mut admin = PgConnection::connect(admin_url).await.context("the new primary can't be reached")?;
    let quoted: String = sqlx::query_scalar("select format('alter role %I password %L', $1::text, $2::text)")
        .bind(ADMIN_ROLE)
        .bind(passwords.expose(Login::PrimaryAdmin))
        .fetch_one(&mut admin)
        .await?;
    sqlx::raw_sql(AssertSqlSafe(format!("set log_min_error_statement = panic; {quoted}"))).execute(&mut admin).await?;
    admin.close().await?;
    stop_pair(&directory).await?;
    let place = |name: &str| directory.path().join(name);
    let (primary, replica, demoted) = (place("primary"), place(promoted.cluster()), place(DEMOTED));
    remove_if_there(&demoted)?;
    // Both names lead to a cluster at every moment: `up` would make a new one where there is none.
    renameat_with(CWD, &primary, CWD, &replica, RenameFlags::EXCHANGE)
        .with_context(|| format!("{} and {} can't change places", primary.display(), replica.display()))?;
    fs::rename(&replica, &demoted)?;
    for number in ReplicaNumber::all().filter(|number| *number != promoted) {
        remove_if_there(&place(number.cluster()))?;
    }
    ensure!(primary.join("data").exists(), "{} holds no cluster", primary.display());
    terminal::note("stopped the pair; primary and replica have changed places");
    Ok(())
}
