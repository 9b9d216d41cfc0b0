//! One database of the pair while it is loaded: one transaction, from the lock to COMMIT.

use std::sync::Arc;

use anyhow::{Context, ensure};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use tokio::sync::mpsc;

use super::super::copy::connect;
use super::super::rows::{Segment, Storing, TABLES};

/// Of the load's transactions, each with its reason. They end with the transaction.
const SETTINGS: [(&str, &str); 7] = [
    // Definitions are read and written with whole names.
    ("search_path", ""),
    // A pair that is to be loaded is idle: whoever holds a table longer is told of instead of waited for.
    ("lock_timeout", "10s"),
    ("statement_timeout", "0"),
    // One side waits in its transaction for the other.
    ("idle_in_transaction_session_timeout", "0"),
    // The replica's COMMIT must be on disk before the primary's begins.
    ("synchronous_commit", "on"),
    // Sorts a key of a few million rows in memory.
    ("maintenance_work_mem", "256MB"),
    // A loader that was killed must not leave its locks to the statement under way.
    ("client_connection_check_interval", "500ms"),
];

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Where sales are written, and published from.
    Primary,
    /// Where they arrive.
    Replica,
}

/// Something that slows a load down: how it goes and comes back.
struct Piece {
    removal: String,
    restoration: String,
}

/// One database of the pair.
pub struct Side {
    role: Role,
    connection: PgConnection,
    definition: Vec<String>,
    pieces: Vec<Piece>,
}

impl Side {
    /// Connects as administrator. Dropping it takes back whatever is not committed.
    pub async fn connect(role: Role, url: &str) -> anyhow::Result<Side> {
        let connection = connect(url).await.with_context(|| format!("the {role} can't be reached"))?;
        Ok(Side { role, connection, definition: Vec::new(), pieces: Vec::new() })
    }

    /// The connection, for what the transaction should see.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Begins the transaction, and lets nobody else read or write the tables until it ends.
    pub async fn lock(&mut self) -> anyhow::Result<()> {
        let lock = format!("lock table {} in access exclusive mode", TABLES.join(", "));
        let role = self.role;
        self.execute("begin".to_owned()).await?;
        for (name, value) in SETTINGS {
            self.execute(format!("set local {name} = '{value}'")).await?;
        }
        self.execute(lock).await.with_context(|| format!("somebody works on the {role}'s sales: let them end"))
    }

    /// Whether neither table holds a row.
    pub async fn is_empty(&mut self) -> anyhow::Result<bool> {
        let [any_sale, any_item] = TABLES.map(|table| format!("exists (select from {table})"));
        let question = format!("select not ({any_sale} or {any_item})");
        Ok(sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(&mut self.connection).await?)
    }

    /// Empties the tables and takes off what slows a load down; the primary's also leave their publications, so that
    /// the stream does not bring what the replica is given beside it.
    pub async fn strip(&mut self) -> anyhow::Result<()> {
        self.definition = self.read_definition().await?;
        let rows = sqlx::query(include_str!("pieces.sql"))
            .bind(TABLES.as_slice())
            .bind(self.role == Role::Primary)
            .fetch_all(&mut self.connection)
            .await
            .context("keys and indexes can't be read")?;
        for row in rows {
            self.pieces.push(Piece { removal: row.try_get("removal")?, restoration: row.try_get("restoration")? });
        }
        let removals: Vec<String> = self.pieces.iter().map(|piece| piece.removal.clone()).collect();
        for removal in removals {
            self.execute(removal).await?;
        }
        self.execute(format!("truncate {}", TABLES.join(", "))).await
    }

    /// Writes what comes; `written` is told how many sales each segment had.
    pub async fn take(
        &mut self,
        mut segments: mpsc::Receiver<Arc<Segment>>,
        mut written: impl FnMut(&Segment),
    ) -> anyhow::Result<()> {
        let role = self.role;
        while let Some(segment) = segments.recv().await {
            let copied = segment.copy(&mut self.connection, Storing::Frozen).await;
            copied.with_context(|| format!("the {role} refused the sales"))?;
            written(&segment);
        }
        Ok(())
    }

    /// Puts back what was taken off, which checks every row, and proves that nothing is defined otherwise than before.
    pub async fn restore(&mut self) -> anyhow::Result<()> {
        while let Some(piece) = self.pieces.pop() {
            self.execute(piece.restoration).await?;
        }
        // What was planned on empty tables is slow on full ones.
        self.execute(format!("analyze {}", TABLES.join(", "))).await?;
        let after = self.read_definition().await?;
        let role = self.role;
        ensure!(
            after == self.definition,
            "the {role}'s tables would not be defined as before, so nothing was written: they were\n{}\nand would be\n{}",
            self.definition.join("\n"),
            after.join("\n")
        );
        Ok(())
    }

    /// Makes it last.
    pub async fn commit(&mut self) -> anyhow::Result<()> {
        self.execute("commit".to_owned()).await
    }

    /// Takes it back, so that nothing is locked any more when this returns.
    pub async fn close(self) {
        // The server takes back what is open when the connection ends, however it ends.
        let _ended = self.connection.close().await;
    }

    async fn read_definition(&mut self) -> anyhow::Result<Vec<String>> {
        let found = definition(&mut self.connection).await;
        found.with_context(|| format!("the {}'s tables can't be looked at", self.role))
    }

    async fn execute(&mut self, statement: String) -> anyhow::Result<()> {
        let role = self.role;
        let executed = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut self.connection).await;
        executed.map(drop).with_context(|| format!("the {role} refused: {statement}"))
    }
}

/// How the tables of sales are defined, a line for each column, constraint, index, trigger, publication and grant.
///
/// # Errors
///
/// The database does not answer.
pub async fn definition(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(include_str!("catalog.sql")).bind(TABLES.as_slice()).fetch_all(connection).await
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        })
    }
}
