//! `slots` and `cdc peek`, as every program that offers them has them.

use std::io::{self, IsTerminal as _, Write as _};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    PGOUTPUT, PeekError, Slot, SlotChangeError, SlotPurpose,
    peek::{Change, peek},
};

/// For people or for programs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// Lines for people.
    #[default]
    Text,
    /// JSON.
    Json,
}

/// What can be done with the logical slots of the primary.
#[derive(Clone, Debug, Subcommand)]
pub enum SlotsCommand {
    /// Lists every logical slot, what it is for, and how much WAL the primary keeps for it.
    List {
        /// For people or for programs.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Makes a slot. From then on the primary keeps WAL for it, whether anybody reads it or not: drop it when done.
    Create {
        /// Lower-case letters, digits and underscores.
        name: String,
        /// The output plugin that decodes changes for its readers; `cdc peek` needs the default.
        #[arg(long, default_value = PGOUTPUT)]
        plugin: String,
        /// For people or for programs.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Drops a slot: its reader can't go on from where it was. That of a replica, and one in use, is refused.
    Drop {
        /// As `slots list` shows it.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// For people or for programs.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

/// What can be done with the stream of changes.
#[derive(Clone, Debug, Subcommand)]
pub enum CdcCommand {
    /// Shows the first changes that wait in a slot, and leaves them there.
    ///
    /// One reader at a time: the slot of a replica that runs can't be looked into. Make one with `slots create`, and drop
    /// it afterwards. As JSON: one object a line.
    Peek(PeekArgs),
}

/// Which changes are shown.
#[derive(Clone, Debug, Args)]
pub struct PeekArgs {
    /// The slot; its plugin must be pgoutput.
    #[arg(long, value_name = "NAME")]
    pub slot: String,
    /// So many changes at most. Transactions are decoded as a whole, however large.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum SlotCommandError {
    /// Slots can't be listed.
    #[error("the primary's slots can't be listed")]
    List(#[source] sqlx::Error),
    /// A slot was not made or dropped.
    #[error(transparent)]
    Change(#[from] SlotChangeError),
    /// A slot can't be looked into.
    #[error(transparent)]
    Peek(#[from] PeekError),
    /// Nobody can be asked.
    #[error("nothing was dropped: confirm with --yes where there is no terminal to ask on")]
    NobodyToAsk,
    /// The operator said no.
    #[error("nothing was dropped")]
    Declined,
    /// The result can't be printed.
    #[error("the result can't be printed")]
    Print(#[from] io::Error),
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    slot: &'a Slot,
    purpose: SlotPurpose,
    orphan: bool,
}

impl SlotsCommand {
    /// Carries it out on the primary, as a role with REPLICATION. `replicas` are the names of the slots that replicas use.
    pub async fn run(self, primary: &mut PgConnection, replicas: &[String]) -> Result<(), SlotCommandError> {
        match self {
            Self::List { output } => {
                let slots = Slot::all(primary).await.map_err(SlotCommandError::List)?;
                let listed = |slot| Listed { slot, purpose: slot.purpose(), orphan: slot.is_orphan(replicas) };
                list(&slots.iter().map(listed).collect::<Vec<_>>(), output)
            }
            Self::Create { name, plugin, output } => {
                let lsn = Slot::create(primary, &name, &plugin).await?;
                let from = lsn.map(|lsn| lsn.to_string()).unwrap_or_default();
                say(output, serde_json::json!({"created": name, "lsn": from}), || {
                    format!("slot {name} has every change from {from} on; drop it when done: slots drop {name}")
                })
            }
            Self::Drop { name, yes, output } => {
                let slot = Slot::droppable(&mut *primary, &name, replicas).await?;
                if !yes {
                    confirm(&slot)?;
                }
                let kept = slot.retained_wal_bytes;
                slot.drop(primary).await?;
                say(output, serde_json::json!({"dropped": name, "retained_wal_bytes": kept}), || {
                    format!("slot {name} is gone; it kept {kept} bytes of WAL")
                })
            }
        }
    }
}

impl CdcCommand {
    /// Carries it out on the primary, as a role with REPLICATION.
    pub async fn run(self, primary: &mut PgConnection) -> Result<(), SlotCommandError> {
        let Self::Peek(PeekArgs { slot, limit, output }) = self;
        let changes = peek(primary, &slot, limit).await?;
        let mut out = io::stdout().lock();
        for change in &changes {
            match output {
                Output::Text => writeln!(out, "{}", told(change))?,
                Output::Json => writeln!(out, "{}", as_json(change)?)?,
            }
        }
        if changes.is_empty() && output == Output::Text {
            writeln!(out, "no change waits in {slot}")?;
        }
        Ok(())
    }
}

/// A line for people.
fn told(change: &Change) -> String {
    use crate::peek::What;
    let row = |row: &serde_json::Map<String, serde_json::Value>| {
        let values = row.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or("null")));
        values.collect::<Vec<_>>().join(" ")
    };
    let what = match &change.what {
        What::Insert { table, new, .. } => format!("insert {table}: {}", row(new)),
        What::Update { table, key, new, .. } => format!("update {table} ({}): {}", row(key), row(new)),
        What::Delete { table, key } => format!("delete {table} ({})", row(key)),
        What::Truncate { tables } => format!("truncate {}", tables.join(", ")),
    };
    format!("{} {} {what}", change.lsn, change.xid)
}

fn as_json(value: &impl Serialize) -> io::Result<String> {
    serde_json::to_string(value).map_err(io::Error::other)
}

fn list(slots: &[Listed<'_>], output: Output) -> Result<(), SlotCommandError> {
    let mut out = io::stdout().lock();
    if output == Output::Json {
        writeln!(out, "{}", as_json(&slots)?)?;
        return Ok(());
    }
    let width = slots.iter().map(|listed| listed.slot.name.len()).max().unwrap_or_default().max(4);
    writeln!(
        out,
        "{:<width$}  {:<13}{:<10}{:<9}{:<12}{:>14}{:>14}",
        "slot", "for", "plugin", "pid", "WAL", "kept", "safe"
    )?;
    for Listed { slot, purpose, orphan } in slots {
        let purpose = match purpose {
            SlotPurpose::Subscription => "subscription",
            SlotPurpose::TableCopy => "table copy",
            SlotPurpose::Verification => "verification",
            SlotPurpose::Other => "other",
        };
        let pid = slot.active_pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let safe = slot.safe_wal_bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        let (plugin, wal) = (slot.plugin.as_deref().unwrap_or("-"), slot.wal_status.as_deref().unwrap_or("-"));
        let orphan = if *orphan { "  nobody reads it" } else { "" };
        let (name, kept) = (&slot.name, slot.retained_wal_bytes);
        writeln!(out, "{name:<width$}  {purpose:<13}{plugin:<10}{pid:<9}{wal:<12}{kept:>14}{safe:>14}{orphan}")?;
    }
    Ok(())
}

fn say(output: Output, json: serde_json::Value, text: impl FnOnce() -> String) -> Result<(), SlotCommandError> {
    let line = if output == Output::Json { json.to_string() } else { text() };
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}

fn confirm(slot: &Slot) -> Result<(), SlotCommandError> {
    if !io::stdin().is_terminal() {
        return Err(SlotCommandError::NobodyToAsk);
    }
    let Slot { name, retained_wal_bytes, .. } = slot;
    let mut err = io::stderr().lock();
    write!(
        err,
        "Drop slot {name}, for which {retained_wal_bytes} bytes of WAL are kept? Its reader can't go on. [y/N] "
    )?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    let yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if yes { Ok(()) } else { Err(SlotCommandError::Declined) }
}
