//! A command that is only validated: carried out like any other, then rolled back.

use futures::FutureExt as _;
use sqlx::{Connection as _, PgConnection};
use tandem_chassis::{database::Database, deadline::Deadline};

use super::{batch, culprit, error::StoreError, outcome::Outcome};
use crate::{
    domain::{Change, Command},
    failpoint::Failpoint,
};

/// Says what the command would do, and leaves no trace.
pub async fn rehearse(database: &Database, command: Command, deadline: Deadline) -> Result<Outcome, StoreError> {
    Failpoint::BeforeBegin.pass().await;
    let outcome = database.write(deadline, |connection| roll_back(connection, command).boxed()).await;
    Failpoint::AfterCommit.pass().await;
    outcome
}

async fn roll_back(connection: &mut PgConnection, command: Command) -> Result<Outcome, StoreError> {
    let mut savepoint = connection.begin().await?;
    let done = batch::apply(&mut savepoint, &[&command.change]).await;
    savepoint.rollback().await?;
    Failpoint::BeforeCommit.pass().await;
    match (done, &command.change) {
        (Err(refusal), Change::CreateAll(new)) => Err(culprit::name(connection, new, refusal).await),
        (done, _) => done?.pop().expect("one command has one outcome"),
    }
}
