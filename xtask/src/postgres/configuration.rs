//! The settings of a cluster, in a file beside `postgresql.conf` that is written anew at every start.

use std::fmt::Write;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;

use super::server_user::ServerUser;
use crate::places::write_atomically;

const FILE_NAME: &str = "tandem.conf";

/// Each setting with the reason for its value. Both sides get the same, so that a replica can be promoted.
const SETTINGS: [(&str, &str); 15] = [
    ("listen_addresses", "127.0.0.1"),
    // TCP alone: a socket's path has a length limit of 107 bytes that a deep clone would exceed.
    ("unix_socket_directories", ""),
    ("wal_level", "logical"),
    // A replica, its table synchronisations, a verifier and a few readers of changes at once.
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    // Finite, so that a replica that is gone never fills the disk.
    ("max_slot_wal_keep_size", "2GB"),
    ("max_worker_processes", "16"),
    ("max_logical_replication_workers", "8"),
    // The default of 5 s makes a subscription idle that long after each restart of the primary.
    ("wal_retrieve_retry_interval", "500ms"),
    ("max_connections", "200"),
    ("password_encryption", "scram-sha-256"),
    // pg_ctl's log file is the only one.
    ("logging_collector", "off"),
    ("log_line_prefix", "%m [%p] %q%u@%d %a "),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
];

/// Settings that give up crash safety for speed.
const NOT_DURABLE: [(&str, &str); 2] = [("fsync", "off"), ("full_page_writes", "off")];

/// What a cluster's settings depend on.
pub(super) struct Configuration<'a> {
    pub port: u16,
    pub durable: bool,
    pub further: &'a [(String, String)],
}

impl Configuration<'_> {
    /// Makes a new data directory read our file. `ALTER SYSTEM` still wins over it.
    pub fn include_in(data: &Path) -> anyhow::Result<()> {
        let path = data.join("postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(&path)?;
        writeln!(file, "\ninclude = '{FILE_NAME}'").with_context(|| format!("{} can't be written", path.display()))
    }

    /// Writes our file, as the server's user will read it.
    pub fn write(&self, data: &Path, user: &ServerUser) -> anyhow::Result<()> {
        let file = write_atomically(&data.join(FILE_NAME), self.text().as_bytes(), 0o600)?;
        user.own_file(&file).context("the settings can't be handed to the server's user")
    }

    fn text(&self) -> String {
        let port = self.port.to_string();
        let mut text = String::from("# Written at every start; use ALTER SYSTEM for settings of your own.\n");
        let ours = std::iter::once(("port", port.as_str()))
            .chain(SETTINGS)
            .chain(NOT_DURABLE.into_iter().filter(|_| !self.durable))
            .chain(self.further.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        for (name, value) in ours {
            let quoted = value.replace('\'', "''");
            writeln!(text, "{name} = '{quoted}'").expect("writing to a String can't fail");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_settings_stand_last_and_are_quoted() {
        let further = [("search_path".to_owned(), "it's".to_owned())];
        let text = Configuration { port: 5, durable: true, further: &further }.text();
        assert!(text.ends_with("search_path = 'it''s'\n"), "{text}");
        assert!(text.contains("\nport = '5'\n"), "{text}");
    }

    #[test]
    fn only_a_cluster_that_is_not_durable_skips_fsync() {
        let text = |durable| Configuration { port: 5, durable, further: &[] }.text();
        assert!(!text(true).contains("fsync"));
        assert!(text(false).contains("fsync = 'off'"));
    }
}
