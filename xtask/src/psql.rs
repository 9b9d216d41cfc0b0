//! `cargo xtask psql`: becomes psql, connected as superuser.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::postgres::{ADMIN_ROLE, DATABASE, ReplicaNumber};
use crate::running::RunState;

/// How `psql` is called.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which server.
    #[arg(value_parser = side, value_name = "primary|replica|replica-2|…")]
    side: Side,
    /// Arguments for psql, such as `-- -c 'select 1'`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Primary,
    Replica(ReplicaNumber),
}

/// Reads the name of a server: a replica's is that of its cluster or the one that its answers carry.
fn side(text: &str) -> Result<Side, String> {
    if text == "primary" {
        return Ok(Side::Primary);
    }
    let named = |number: &ReplicaNumber| number.cluster() == text || number.name() == text;
    let found = ReplicaNumber::all().find(named).map(Side::Replica);
    found.ok_or_else(|| "it is primary, replica (or replica-1), replica-2, replica-3 or replica-4".to_owned())
}

/// Replaces this process; returns only when psql can't be started.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let state = RunState::load()?;
    let side = match args.side {
        Side::Primary => state.primary,
        Side::Replica(number) => state.replica_of(number)?.server,
    };
    let error = Command::new(program(&state.postgres.bin_dir))
        .args(&args.arguments)
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", side.port.to_string())
        .env("PGUSER", ADMIN_ROLE)
        .env("PGDATABASE", DATABASE)
        // Not as an argument, where every user of the machine could read it.
        .env("PGPASSWORD", password_of(&side.admin_url))
        .exec();
    Err(error).context(
        "psql can't be run: install PostgreSQL's client (Debian, Ubuntu: apt-get install postgresql-client), \
         or use another with the URL in `cargo xtask status --output json`",
    )
}

/// The neighbour of the server, else the one on the `PATH`.
fn program(bin_dir: &Path) -> OsString {
    let beside = bin_dir.join("psql");
    if beside.exists() { beside.into() } else { "psql".into() }
}

/// The password in a URL made by `Cluster::url`, which quotes nothing.
fn password_of(url: &str) -> &str {
    let credentials = url.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    credentials.and_then(|(credentials, _)| credentials.split_once(':')).map_or("", |(_, password)| password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_what_stands_between_role_and_host() {
        assert_eq!(password_of("postgres://tandem_admin:secret@127.0.0.1:5676/tandem"), "secret");
    }

    #[test]
    fn a_replica_is_named_as_status_or_its_answers_name_it() {
        let number = |number| Ok(Side::Replica(ReplicaNumber::new(number).unwrap()));
        assert_eq!((side("primary"), side("replica")), (Ok(Side::Primary), number(1)));
        assert_eq!((side("replica-1"), side("replica-2")), (number(1), number(2)));
        assert!(side("replica-9").unwrap_err().contains("replica-2"));
    }
}
