//! `cargo xtask prepare`: what the database says of each query, written to the crates' `.sqlx/`.
//!
//! The query macros write one file for each query into `SQLX_OFFLINE_DIR` while they are compiled against a
//! live database. Which crate a file belongs to is not in it, so a wrapper around the compiler gives each
//! crate its own directory and database. The migrations are applied from their files here, not by the
//! services' own binaries, since those may not compile before `.sqlx/` is current.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::{Context, ensure};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};

use crate::cargo;
use crate::places::{build_directory, create_directory, remove_if_there, workspace_root, write_atomically};
use crate::postgres::{Login, TestOptions, TestPair};
use crate::service::Service;
use crate::terminal;

/// How `prepare` is called.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code with --check: 0 current, 1 not.")]
pub struct Args {
    /// Change nothing; fail when a file is missing, not current, or no longer needed.
    #[arg(long)]
    check: bool,
}

/// A crate with checked queries, below `services`, and whose migrations its queries are checked against.
struct Checked {
    directory: &'static str,
    migrations: Service,
}

const CHECKED: [Checked; 3] = [
    Checked { directory: "replication", migrations: Service::Command },
    Checked { directory: "command", migrations: Service::Command },
    Checked { directory: "query", migrations: Service::Query },
];

impl Checked {
    fn package(&self) -> String {
        format!("tandem-{}", self.directory)
    }

    fn path(&self) -> PathBuf {
        workspace_root().join("services").join(self.directory)
    }
}

/// File names and contents.
type Queries = BTreeMap<String, Vec<u8>>;

/// Refreshes or checks the `.sqlx/` of every crate that has one.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let since = Instant::now();
    let pair = TestPair::bare(TestOptions::default()).await?;
    for service in Service::BOTH {
        migrate(service, &pair.url(admin(service))).await?;
    }
    terminal::done("an empty pair, migrated", since);
    let since = Instant::now();
    let written = tempfile::tempdir()?;
    describe_queries(&pair, written.path())?;
    terminal::done("queries checked", since);
    let mut current = true;
    for checked in &CHECKED {
        let fresh = read(&written.path().join(checked.directory))?;
        let committed = checked.path().join(".sqlx");
        let differences = differences(&read(&committed)?, &fresh);
        let queries = if fresh.len() == 1 { "query" } else { "queries" };
        let what = format!("{}: {} {queries}", checked.package(), fresh.len());
        if differences.is_empty() {
            terminal::note(&format!("{what}, .sqlx is current"));
        } else if args.check {
            current = false;
            let list = differences.join("\n  ");
            terminal::progress(format_args!(
                "{what}, .sqlx is not current; refresh it with `cargo xtask prepare`:\n  {list}"
            ));
        } else {
            replace(&committed, &fresh)?;
            terminal::note(&format!("{what}, {} changed", terminal::counted(differences.len() as u64, "file")));
        }
    }
    Ok(if current { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn admin(service: Service) -> Login {
    match service {
        Service::Command => Login::PrimaryAdmin,
        Service::Query => Login::ReplicaAdmin,
    }
}

async fn migrate(service: Service, url: &str) -> anyhow::Result<()> {
    let migrations = service.directory().join("migrations");
    let migrator = Migrator::new(migrations.as_path()).await?;
    let mut connection = PgConnection::connect(url).await?;
    let migrated = migrator.run(&mut connection).await;
    migrated.with_context(|| format!("the migrations in {} fail", migrations.display()))?;
    connection.close().await?;
    Ok(())
}

/// Compiles the crates against live databases; their macros write below `written`.
fn describe_queries(pair: &TestPair, written: &Path) -> anyhow::Result<()> {
    let mut check = cargo::command();
    check.args(["check", "--quiet", "--lib"]).current_dir(workspace_root());
    for checked in &CHECKED {
        create_directory(&written.join(checked.directory), 0o755)?;
        check.args(["--package", &checked.package()]);
        // Cargo compiles a crate again when a source is newer than the last build; nothing else would make
        // it run the macros again.
        let library = checked.path().join("src/lib.rs");
        File::options().append(true).open(&library)?.set_modified(SystemTime::now())?;
    }
    let status = check
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper(pair, written)?)
        .env("SQLX_OFFLINE", "false")
        .env_remove("DATABASE_URL")
        .env_remove("SQLX_OFFLINE_DIR")
        .status()
        .context("cargo can't be run: is it on the PATH?")?;
    ensure!(status.success(), "the services do not compile against their migrations; see above");
    Ok(())
}

/// Writes the script that cargo calls instead of the compiler. Always at the same place: cargo keeps what it
/// compiled for each wrapper apart, by path.
fn wrapper(pair: &TestPair, written: &Path) -> anyhow::Result<PathBuf> {
    let mut script = String::from("#!/bin/sh\ncase \" $* \" in\n");
    for checked in &CHECKED {
        let name = checked.package().replace('-', "_");
        let url = pair.url(admin(checked.migrations));
        let directory = written.join(checked.directory);
        let directory = directory.display();
        writeln!(script, "*' --crate-name {name} '*) export DATABASE_URL='{url}' SQLX_OFFLINE_DIR='{directory}' ;;")?;
    }
    script.push_str("esac\nexec \"$@\"\n");
    let directory = build_directory()?.join("tandem");
    create_directory(&directory, 0o755)?;
    let path = directory.join("prepare-rustc");
    write_atomically(&path, script.as_bytes(), 0o700)?;
    Ok(path)
}

/// The query files in a directory; none where there is no directory.
fn read(directory: &Path) -> anyhow::Result<Queries> {
    let mut queries = Queries::new();
    if !directory.exists() {
        return Ok(queries);
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if let (Some(name), Some("json")) = (path.file_name(), path.extension().and_then(|end| end.to_str())) {
            queries.insert(name.to_string_lossy().into_owned(), fs::read(&path)?);
        }
    }
    Ok(queries)
}

/// One line for each file that differs, sorted by name.
fn differences(committed: &Queries, fresh: &Queries) -> Vec<String> {
    let names = committed.keys().chain(fresh.keys().filter(|name| !committed.contains_key(*name)));
    let mut lines: Vec<String> = names
        .filter_map(|name| match (committed.get(name), fresh.get(name)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(_), Some(_)) => Some(format!("{name} has changed")),
            (None, Some(_)) => Some(format!("{name} is missing")),
            (_, None) => Some(format!("{name} is no longer needed")),
        })
        .collect();
    lines.sort();
    lines
}

/// Puts a directory with these files in place of the old one.
fn replace(directory: &Path, queries: &Queries) -> anyhow::Result<()> {
    let fresh = directory.with_extension("new");
    let old = directory.with_extension("old");
    remove_if_there(&fresh)?;
    remove_if_there(&old)?;
    create_directory(&fresh, 0o755)?;
    for (name, content) in queries {
        fs::write(fresh.join(name), content)?;
    }
    if directory.exists() {
        fs::rename(directory, &old)?;
    }
    fs::rename(&fresh, directory)?;
    Ok(remove_if_there(&old)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(files: &[(&str, &str)]) -> Queries {
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn each_kind_of_difference_is_named() {
        let committed = queries(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let fresh = queries(&[("a", "1"), ("b", "2"), ("d", "1")]);
        assert_eq!(differences(&committed, &fresh), ["b has changed", "c is no longer needed", "d is missing"]);
        assert!(differences(&fresh, &fresh).is_empty());
    }

    #[test]
    fn replacing_leaves_exactly_the_fresh_files() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join(".sqlx");
        replace(&directory, &queries(&[("query-a.json", "1")])).unwrap();
        replace(&directory, &queries(&[("query-b.json", "2")])).unwrap();
        assert_eq!(read(&directory).unwrap(), queries(&[("query-b.json", "2")]));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
