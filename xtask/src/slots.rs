//! `cargo xtask slots` and `cargo xtask cdc`: what `tandem-query slots` and `tandem-query cdc` do, with the running pair.

use std::process::ExitCode;

use sqlx::{Connection, PgConnection};
use tandem_replication::slot_commands::{CdcCommand, SlotsCommand};

use crate::RunState;

/// Carries out a command on the slots of the running pair's primary. Those of its replicas are not dropped.
pub async fn run(command: SlotsCommand) -> anyhow::Result<ExitCode> {
    let state = RunState::load()?;
    let replicas: Vec<String> = state.replicas().iter().map(|replica| replica.number.subscription()).collect();
    let mut primary = PgConnection::connect(&state.primary.admin_url).await?;
    command.run(&mut primary, &replicas).await?;
    Ok(ExitCode::SUCCESS)
}

/// Looks at the changes that wait in a slot of the running pair's primary.
pub async fn look(command: CdcCommand) -> anyhow::Result<ExitCode> {
    let mut primary = PgConnection::connect(&RunState::load()?.primary.admin_url).await?;
    command.run(&mut primary).await?;
    Ok(ExitCode::SUCCESS)
}
