//! Settings that every service has in common. Services flatten these structs into the arguments of
//! their own `serve`, so `--help` documents every variable.
//!
//! | variable | default | meaning |
//! | --- | --- | --- |
//! | `TANDEM_DRAIN_TIMEOUT` | `20s` | how long calls in flight may finish after SIGTERM; the end of the process may take 10 s more |
//! | `TANDEM_DEFAULT_DEADLINE` | `10s` | deadline of a call that brings none |
//! | `TANDEM_MAX_DEADLINE` | `60s` | a caller that asks for more gets this |
//! | `TANDEM_MAX_CONCURRENT_REQUESTS` | `1024` | calls beyond this are refused at once |
//! | `TANDEM_MAX_MESSAGE_BYTES` | `4194304` | largest request message that is decoded |
//! | `TANDEM_LOG` | `info` | log filter, for example `info,tandem_command=debug` |
//! | `TANDEM_LOG_FORMAT` | text on a terminal, else json | `text` or `json`, to stderr |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | none | OTLP/gRPC collector; traces are exported when it is set |
//!
//! Durations are written `500ms`, `30s`, `2m`. The databases' own variables
//! (`TANDEM_PRIMARY_*`, `TANDEM_REPLICA_*`) belong to the services, which fill a
//! [`DatabaseSettings`] from them; an argument that takes a password should set
//! `hide_env_values = true`, or `--help` would print it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret, SecretString};
pub use sqlx::postgres::PgSslMode as SslMode;

/// The end of `serve --help`: a variable that is not ours to name, and so no argument.
pub const TRACES_HELP: &str =
    "Traces are exported when OTEL_EXPORTER_OTLP_ENDPOINT names an OTLP/gRPC collector: http://localhost:4317";

/// What follows the drain takes less: the last words of calls that were cut off (1 s), the end of the background tasks
/// (twice 2 s), closing the databases (2 s) and the last traces (2 s).
pub const AFTER_DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Limits of the gRPC server.
#[derive(Debug, Clone, Args)]
pub struct ServerSettings {
    /// How long calls in flight may finish after SIGTERM before they are cut off.
    ///
    /// What follows (last words of cut-off calls, background tasks, open connections, last traces) takes up to 10 s
    /// more. The default and that fit into Kubernetes' grace period of 30 s; with a longer drain, make
    /// `terminationGracePeriodSeconds` 10 s longer than it.
    #[arg(long, env = "TANDEM_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "20s", value_parser = parse_duration)]
    pub drain_timeout: Duration,

    /// Deadline of a call that brings none of its own.
    #[arg(long, env = "TANDEM_DEFAULT_DEADLINE", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub default_deadline: Duration,

    /// Longest deadline that is granted; a caller that asks for more gets this.
    #[arg(long, env = "TANDEM_MAX_DEADLINE", value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub max_deadline: Duration,

    /// Calls that may be in progress at once; one more is refused with RESOURCE_EXHAUSTED.
    ///
    /// The default is far above what a database pool can serve at once, so short bursts queue,
    /// and low enough that a queue never outlives the default deadline.
    #[arg(long, env = "TANDEM_MAX_CONCURRENT_REQUESTS", value_name = "CALLS", default_value = "1024")]
    pub max_concurrent_requests: NonZeroUsize,

    /// Largest request message that is decoded, in bytes; set on each generated service.
    #[arg(long, env = "TANDEM_MAX_MESSAGE_BYTES", value_name = "BYTES", default_value = "4194304")]
    pub max_message_bytes: NonZeroUsize,
}

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
pub struct LogSettings {
    /// Log filter: levels, for all or by module, for example `info,sqlx=warn`.
    #[arg(id = "log_filter", long = "log", env = "TANDEM_LOG", value_name = "FILTER", default_value = "info")]
    pub filter: String,

    /// Format of log lines; text on a terminal and JSON lines otherwise when it is not given.
    #[arg(id = "log_format", long = "log-format", env = "TANDEM_LOG_FORMAT", value_name = "FORMAT")]
    pub format: Option<LogFormat>,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One PostgreSQL database and how it is reached. Services fill it from their own variables.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// Host name, address, or directory of a Unix socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Name of the database.
    pub database: String,
    /// Role that connects.
    pub user: String,
    /// Password of the role.
    pub password: SecretString,
    /// How much TLS is asked for.
    pub ssl_mode: SslMode,
    /// PEM file of the authorities that are trusted with `verify-ca` and `verify-full`.
    pub ssl_root_cert: Option<PathBuf>,
    /// Largest number of pooled connections. One more is opened for the health probe.
    pub max_connections: NonZeroU32,
    /// Longest wait for a pooled connection; a nearer deadline shortens it.
    pub acquire_timeout: Duration,
    /// Name shown in `pg_stat_activity`; also the `pool` label of the pool's metrics.
    pub application_name: String,
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Neither the value nor a file was given.
    #[error("{what} is not set: give {what} or {what}_FILE")]
    Missing {
        /// Name of the variable.
        what: String,
    },
    /// Both the value and a file were given, and which one is meant is not for us to guess.
    #[error("{what} and {what}_FILE are both set: give one of them")]
    Ambiguous {
        /// Name of the variable.
        what: String,
    },
    /// The value or the file is empty.
    #[error("{what} is empty")]
    Empty {
        /// Name of the variable.
        what: String,
    },
    /// The file could not be read.
    #[error("cannot read the file {path} that {what}_FILE names")]
    Unreadable {
        /// Name of the variable.
        what: String,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// Secrets come as a value or, better, in a file.
#[derive(Debug)]
pub struct Secret;

impl Secret {
    /// The secret named `what` (`TANDEM_PRIMARY_PASSWORD`) from its `value` or its `file`. One
    /// trailing newline of a file is not part of the secret: editors and `echo` leave one.
    ///
    /// # Errors
    /// Neither or both are given, the file cannot be read, or the secret is empty.
    pub fn resolve(
        value: Option<SecretString>,
        file: Option<PathBuf>,
        what: &str,
    ) -> Result<SecretString, SecretError> {
        let what = what.to_owned();
        let secret = match (value, file) {
            (None, None) => return Err(SecretError::Missing { what }),
            (Some(_), Some(_)) => return Err(SecretError::Ambiguous { what }),
            (Some(value), None) => value,
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => trim_newline(text),
                Err(source) => return Err(SecretError::Unreadable { what, path, source }),
            },
        };
        if secret.expose_secret().is_empty() {
            return Err(SecretError::Empty { what });
        }
        Ok(secret)
    }
}

impl Secret {
    /// As [`resolve`](Self::resolve), but a secret that is not given at all is `None`.
    ///
    /// # Errors
    /// Both are given, the file cannot be read, or the secret is empty.
    pub fn resolve_optional(
        value: Option<SecretString>,
        file: Option<PathBuf>,
        what: &str,
    ) -> Result<Option<SecretString>, SecretError> {
        match (&value, &file) {
            (None, None) => Ok(None),
            _ => Self::resolve(value, file, what).map(Some),
        }
    }
}

fn trim_newline(text: String) -> SecretString {
    let text = SecretString::from(text);
    let line = text.expose_secret();
    match line.strip_suffix('\n') {
        Some(line) => SecretString::from(line.strip_suffix('\r').unwrap_or(line)),
        None => text,
    }
}

/// Reads a duration such as `500ms`, `30s` or `2m`; services use it for durations of their own.
///
/// # Errors
/// The text is no duration, or it is zero: no limit in this system may be "at once".
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 500ms, 30s or 2m"))?;
    if duration.is_zero() {
        return Err("must be longer than zero".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        server: ServerSettings,
        #[command(flatten)]
        log: LogSettings,
    }

    fn file_with(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_secret_file_loses_exactly_one_trailing_newline() {
        for (text, secret) in [
            ("s3cret", "s3cret"),
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            ("s3cret\n\n", "s3cret\n"),
            (" s3cret ", " s3cret "),
        ] {
            let file = file_with(text);
            let found = Secret::resolve(None, Some(file.path().into()), "X").unwrap();
            assert_eq!(found.expose_secret(), secret, "{text:?}");
        }
    }

    #[test]
    fn a_secret_given_never_or_twice_is_refused_by_name() {
        let missing = Secret::resolve(None, None, "TANDEM_PRIMARY_PASSWORD").unwrap_err();
        assert!(missing.to_string().contains("TANDEM_PRIMARY_PASSWORD_FILE"));
        let both = Secret::resolve(Some("a".into()), Some("b".into()), "X").unwrap_err();
        assert!(matches!(both, SecretError::Ambiguous { .. }));
    }

    #[test]
    fn an_empty_or_unreadable_secret_is_refused() {
        let file = file_with("\n");
        let empty = Secret::resolve(None, Some(file.path().into()), "X").unwrap_err();
        assert!(matches!(empty, SecretError::Empty { .. }));
        let absent = Secret::resolve(None, Some("/does/not/exist".into()), "X").unwrap_err();
        assert!(matches!(absent, SecretError::Unreadable { .. }));
    }

    #[test]
    fn durations_are_read_with_their_units_and_zero_is_refused() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert!(parse_duration("0s").is_err());
        assert!(parse_duration("30").is_err());
    }

    #[test]
    fn help_names_every_variable_of_the_header() {
        let help = Arguments::command().render_long_help().to_string();
        let header = include_str!("settings.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `TANDEM_"))
            .map(|rest| rest.split('`').next().unwrap());
        let mut seen = 0;
        for name in header {
            assert!(help.contains(&format!("TANDEM_{name}")), "TANDEM_{name}");
            seen += 1;
        }
        assert_eq!(help.matches("[env: TANDEM_").count(), seen);
    }

    #[test]
    fn the_default_drain_and_what_follows_fit_into_the_grace_period_of_kubernetes() {
        let arguments = Arguments::parse_from(["service"]);
        assert!(arguments.server.drain_timeout + AFTER_DRAIN_LIMIT <= Duration::from_secs(30));
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains(&format!("up to {} s", AFTER_DRAIN_LIMIT.as_secs())), "{help}");
    }

    #[test]
    fn defaults_work_without_any_variable() {
        let arguments = Arguments::parse_from(["service"]);
        assert!(arguments.server.default_deadline <= arguments.server.max_deadline);
        assert_eq!(arguments.log.filter, "info");
        assert_eq!(arguments.log.format, None);
    }
}
