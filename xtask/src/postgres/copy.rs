//! A copy of a running server: as a base backup takes one, on this machine.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::server_user::ServerUser;
use crate::places::{create_directory, write_atomically};

/// What a copy does without: what is the running server's alone, and settings by ALTER SYSTEM, which may lead out of this
/// machine.
const LEFT_OUT: [&str; 5] =
    ["postmaster.pid", "postmaster.opts", "postgresql.auto.conf", "backup_label", "tablespace_map"];
/// Directories that a copy has empty. WAL comes at the end; a slot is its reader's, who follows the original.
const EMPTY: [&str; 8] =
    ["pg_wal", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"];

/// Copies the data directory of a running server into that of `to`, which is not there yet. The server goes on; it makes a
/// checkpoint. Started, the copy recovers to about now: it has the original's identifier and passwords.
pub async fn copy_running(admin_url: &str, data: &Path, to: &Cluster, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut session = PgConnection::connect(admin_url).await.context("the primary can't be reached")?;
    // Goes with the session, and keeps the WAL of the copy until then.
    sqlx::query("select pg_create_physical_replication_slot(format('tandem_copy_%s', pg_backend_pid()), true, true)")
        .execute(&mut session)
        .await?;
    sqlx::query("select pg_backup_start('tandem rehearsal', true)").execute(&mut session).await?;
    let copy = |only: Only| {
        let (from, to, user, stop) = (data.to_owned(), to.data_directory(), to.user().clone(), stop.clone());
        tokio::task::spawn_blocking(move || copy_tree(&from, &to, &user, &stop, only))
    };
    if let Some(cluster) = to.data_directory().parent() {
        create_directory(cluster, 0o700)?;
        to.user().own(cluster)?;
    }
    copy(Only::Data).await??;
    let label: String =
        sqlx::query_scalar("select labelfile from pg_backup_stop(false)").fetch_one(&mut session).await?;
    copy(Only::Wal).await??;
    let file = write_atomically(&to.data_directory().join("backup_label"), label.as_bytes(), 0o600)?;
    to.user().own_file(&file)?;
    session.close().await?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Only {
    Data,
    Wal,
}

fn copy_tree(from: &Path, to: &Path, user: &ServerUser, stop: &CancellationToken, only: Only) -> anyhow::Result<()> {
    match only {
        Only::Wal => copy_directory(&from.join("pg_wal"), &to.join("pg_wal"), user, stop, &[], &[]),
        Only::Data => {
            let tablespaces = fs::read_dir(from.join("pg_tblspc"))?.count();
            ensure!(tablespaces == 0, "the primary has tablespaces, which a rehearsal here can't copy");
            copy_directory(from, to, user, stop, &LEFT_OUT, &EMPTY)
        }
    }
}

fn copy_directory(
    from: &Path,
    to: &Path,
    user: &ServerUser,
    stop: &CancellationToken,
    left_out: &[&str],
    empty: &[&str],
) -> anyhow::Result<()> {
    create_directory(to, 0o700)?;
    user.own(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{} can't be read", from.display()))? {
        ensure!(!stop.is_cancelled(), "interrupted");
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let (source, target) = (entry.path(), to.join(&*name));
        if left_out.contains(&&*name) || name.starts_with("pgsql_tmp") {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() && empty.contains(&&*name) {
            create_directory(&target, 0o700)?;
            user.own(&target)?;
        } else if kind.is_dir() {
            copy_directory(&source, &target, user, stop, &[], &[])?;
        } else {
            match fs::copy(&source, &target) {
                Ok(_) => user.own(&target)?,
                // A running server removes files; recovery makes up for those that are missing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("{} can't be copied", source.display())),
            }
        }
    }
    Ok(())
}
