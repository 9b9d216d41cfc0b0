//! One PostgreSQL cluster: made once, started, stopped, killed, restarted, whatever state it was left in.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection};

use super::configuration::Configuration;
use super::locate::Installation;
use super::server_user::ServerUser;
use super::stop::{self, Mode};
use crate::log_excerpt::Logged;
use crate::places::{create_directory, remove_if_there, write_atomically};
use crate::process::Pid;

/// The superuser of every cluster made here.
pub const ADMIN_ROLE: &str = "tandem_admin";

/// The database of the pair, on both sides.
pub const DATABASE: &str = "tandem";

/// How long a server may take to start: recovery of a crashed cluster of some gigabytes fits.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A server's log that has grown beyond this moves aside at the next start, so that two files bound it.
const LOG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// What the names of data directories that are being made begin with.
const UNFINISHED: &str = "unfinished.";

/// What makes one cluster differ from another.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// `primary` or `replica`: for messages.
    pub name: &'static str,
    /// Holds the data directory and the log. It belongs to the server's user.
    pub directory: PathBuf,
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// Which PostgreSQL runs it.
    pub installation: Installation,
    /// Who runs it.
    pub user: ServerUser,
    /// The password of [`ADMIN_ROLE`].
    pub admin_password: SecretString,
    /// Whether commits survive a power cut. Off makes tests fast.
    pub durable: bool,
    /// Further settings, written after ours: `("log_statement", "all")`.
    pub settings: Vec<(String, String)>,
}

/// A cluster on disk, running or not. The handle can be dropped without stopping anything.
#[derive(Debug, Clone)]
pub struct Cluster {
    spec: ClusterSpec,
}

impl Cluster {
    /// A handle; nothing is touched yet.
    pub fn new(spec: ClusterSpec) -> Cluster {
        Cluster { spec }
    }

    /// `primary` or `replica`.
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// Who runs it.
    pub fn user(&self) -> &ServerUser {
        &self.spec.user
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.spec.port
    }

    /// The data directory (`PGDATA`).
    pub fn data_directory(&self) -> PathBuf {
        self.spec.directory.join("data")
    }

    /// The server's log.
    pub fn log_file(&self) -> PathBuf {
        self.spec.directory.join("postgres.log")
    }

    /// Which PostgreSQL runs it.
    pub fn installation(&self) -> &Installation {
        &self.spec.installation
    }

    /// The superuser's URL of the pair's database, password included.
    pub fn admin_url(&self) -> String {
        self.url(ADMIN_ROLE, self.spec.admin_password.expose_secret(), DATABASE)
    }

    /// A URL of this server. Passwords made here need no quoting.
    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.spec.port)
    }

    /// The running server's main process, if there is one.
    pub fn postmaster(&self) -> Option<Pid> {
        stop::postmaster(&self.data_directory())
    }

    /// Makes the data directory where it is missing; `true` when it was made now. What an interrupted call
    /// left behind is removed. A data directory of another major version is refused.
    pub async fn create(&self) -> anyhow::Result<bool> {
        let data = self.data_directory();
        if data.exists() {
            self.refuse_other_major(&data)?;
            return Ok(false);
        }
        let directory = &self.spec.directory;
        create_directory(directory, 0o700)?;
        self.spec.user.own(directory)?;
        self.remove_unfinished().await?;
        // A name of its own, so that the initdb of a caller that died can't meddle; and the rename at the end
        // makes a data directory whole or absent.
        let unfinished = directory.join(format!("{UNFINISHED}{}", std::process::id()));
        self.run_initdb(&unfinished).await?;
        Configuration::include_in(&unfinished)?;
        fs::rename(&unfinished, &data).with_context(|| format!("{} can't be put in place", data.display()))?;
        Ok(true)
    }

    /// Starts the server and returns once it takes connections. Must not be running.
    pub async fn start(&self) -> anyhow::Result<()> {
        let data = self.data_directory();
        if let Some(pid) = self.postmaster() {
            bail!("{} runs already (process {})", self.name(), pid.as_raw_pid());
        }
        stop::clear_remains(&data).await?;
        self.configuration().write(&data, &self.spec.user)?;
        self.turn_log()?;
        let log_begins = self.log_size();
        let mut pg_ctl = self.program("pg_ctl");
        pg_ctl.args(["start", "--wait", "--silent", "--timeout"]).arg(START_LIMIT.as_secs().to_string());
        pg_ctl.arg("--pgdata").arg(&data).arg("--log").arg(self.log_file());
        let output = run(pg_ctl).await?;
        if !output.status.success() {
            let reason = format!("the {} did not start on port {}", self.name(), self.port());
            bail!(Logged::at_start(reason, &self.log_file(), log_begins));
        }
        Ok(())
    }

    /// Stops the server and returns once its processes are gone. One that does not run is no error.
    pub async fn stop(&self, mode: Mode) -> anyhow::Result<()> {
        stop::stop(self.name(), &self.data_directory(), mode).await
    }

    /// Kills the main process as `kill -9` does, and returns once its children have noticed and are gone.
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.stop(Mode::Kill).await
    }

    /// Stops the server fast, unless it is down already, and starts it.
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.stop(Mode::Fast).await?;
        self.start().await
    }

    /// A superuser's connection to one of its databases.
    pub async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        let url = self.url(ADMIN_ROLE, self.spec.admin_password.expose_secret(), database);
        PgConnection::connect(&url).await.with_context(|| {
            format!(
                "the {} on port {} refuses {ADMIN_ROLE} (its password files may be gone: \
                 `cargo xtask reset` makes all anew)",
                self.name(),
                self.port()
            )
        })
    }

    /// Makes the pair's database unless it is there.
    pub async fn create_database(&self) -> anyhow::Result<()> {
        let mut connection = self.connect("postgres").await?;
        let there: bool = sqlx::query_scalar("select exists (select from pg_catalog.pg_database where datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await?;
        if !there {
            sqlx::query("create database tandem").execute(&mut connection).await?;
        }
        connection.close().await?;
        Ok(())
    }

    /// How many bytes the server's log has by now.
    pub fn log_size(&self) -> u64 {
        fs::metadata(self.log_file()).map_or(0, |found| found.len())
    }

    fn configuration(&self) -> Configuration<'_> {
        Configuration { port: self.spec.port, durable: self.spec.durable, further: &self.spec.settings }
    }

    fn refuse_other_major(&self, data: &Path) -> anyhow::Result<()> {
        let made_by = fs::read_to_string(data.join("PG_VERSION"))
            .with_context(|| format!("{} is no data directory", data.display()))?;
        let major = self.spec.installation.version.major.to_string();
        ensure!(
            made_by.trim() == major,
            "the {} was made by PostgreSQL {}, and this is {}: name the other one with --pg-bin, \
             or start anew with `cargo xtask reset`",
            self.name(),
            made_by.trim(),
            self.spec.installation
        );
        Ok(())
    }

    async fn remove_unfinished(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.spec.directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                stop::end_orphans(&path).await?;
                remove_if_there(&path).with_context(|| format!("{} can't be removed", path.display()))?;
            }
        }
        Ok(())
    }

    async fn run_initdb(&self, data: &Path) -> anyhow::Result<()> {
        let password_file = self.spec.directory.join("initdb.password");
        let password = self.spec.admin_password.expose_secret();
        self.spec.user.own_file(&write_atomically(&password_file, password.as_bytes(), 0o600)?)?;
        let mut initdb = self.program("initdb");
        initdb.args(["--auth=scram-sha-256", "--data-checksums", "--encoding=UTF8", "--no-instructions"]);
        // The C locale sorts bytes: the same on every machine and version, which comparing both sides needs.
        initdb.args(["--locale=C", "--username", ADMIN_ROLE, "--pwfile"]).arg(&password_file);
        initdb.arg("--pgdata").arg(data);
        if !self.spec.durable {
            initdb.arg("--no-sync");
        }
        let output = run(initdb).await?;
        remove_if_there(&password_file)?;
        ensure!(
            output.status.success(),
            "the {} can't be made: initdb said:\n{}",
            self.name(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// A program of the installation, in a process group of its own: Ctrl-C must not hit it half-way.
    fn program(&self, name: &str) -> Command {
        let mut command = self.spec.user.command(&self.spec.installation.bin_dir.join(name));
        command.process_group(0);
        command
    }

    fn turn_log(&self) -> anyhow::Result<()> {
        let log = self.log_file();
        if fs::metadata(&log).is_ok_and(|found| found.len() > LOG_LIMIT_BYTES) {
            fs::rename(&log, log.with_extension("log.1"))?;
        }
        Ok(())
    }
}

/// The last lines of a file, or a sentence that says why there are none.
pub fn tail(path: &Path, lines: usize) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("({} can't be read: {error})", path.display()),
    }
}

async fn run(command: Command) -> anyhow::Result<std::process::Output> {
    let program = command.get_program().to_owned();
    let output = tokio::process::Command::from(command).output().await;
    output.with_context(|| format!("{} can't be run", program.display()))
}
