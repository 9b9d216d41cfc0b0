//! A connection that folds.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tandem_chassis::database::{Database, DatabaseError};
use tokio::time::timeout;

use super::{
    Step, generation,
    step::{self, STEP_TIMEOUT},
};

/// For a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The server ends a step by itself; a connection that says nothing for longer than that is broken.
const ANSWER_LIMIT: Duration = STEP_TIMEOUT.saturating_add(Duration::from_secs(5));

/// A connection of its own that may write rollups. Locks that it takes it holds until it is dropped.
pub struct Folding(PgConnection);

/// Waits for an answer, but not for ever.
async fn answered<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, DatabaseError> {
    match timeout(ANSWER_LIMIT, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(DatabaseError::away()),
    }
}

impl Folding {
    /// Connects. The role reads only, unless it says otherwise, as it does here.
    pub async fn connect(database: &Database) -> Result<Self, DatabaseError> {
        let mut connection = database.connect(CONNECT_LIMIT).await?;
        answered(sqlx::query!("set default_transaction_read_only = off").execute(&mut connection)).await?;
        Ok(Self(connection))
    }

    /// The generation that queries read.
    pub async fn current_generation(&mut self) -> Result<i32, DatabaseError> {
        answered(generation::current_generation(&mut self.0)).await
    }

    /// Whether this connection may fold a generation now. One at a time does.
    pub async fn lock(&mut self, generation: i32) -> Result<bool, DatabaseError> {
        answered(generation::lock(&mut self.0, generation)).await
    }

    /// Whether the rollups and the dates of rows are of this cluster. They are not after a dump was restored.
    pub async fn is_of_this_cluster(&mut self) -> Result<bool, DatabaseError> {
        answered(generation::is_of_this_cluster(&mut self.0)).await
    }

    /// Dates all rows in this cluster, and empties the rollups. Nobody writes sales meanwhile; apply waits. Takes as long as
    /// to write all sales anew.
    pub async fn begin_in_this_cluster(&mut self) -> Result<(), DatabaseError> {
        Ok(generation::begin_in_this_cluster(&mut self.0).await?)
    }

    /// Begins a generation beside the current one, locked by this connection, that holds nothing yet.
    pub async fn add_generation(&mut self) -> Result<i32, DatabaseError> {
        answered(generation::add_generation(&mut self.0)).await
    }

    /// From now on queries read this generation. What the others held is removed by
    /// [`remove_leftovers`](Self::remove_leftovers).
    pub async fn complete_generation(&mut self, generation: i32) -> Result<(), DatabaseError> {
        answered(generation::complete_generation(&mut self.0, generation)).await
    }

    /// Removes a portion of what abandoned and replaced generations have left; says how many rollups.
    pub async fn remove_leftovers(&mut self) -> Result<u64, DatabaseError> {
        answered(generation::remove_leftovers(&mut self.0)).await
    }

    /// Takes up to `most` sales into a generation of the rollups, in one transaction.
    pub async fn step(&mut self, generation: i32, most: i64) -> Result<Step, DatabaseError> {
        answered(step::step(&mut self.0, generation, most)).await
    }

    /// Removes past rows that no generation needs and that ended before a time, some thousands at most; says how many.
    pub async fn purge_past(&mut self, ended_before: DateTime<Utc>) -> Result<u64, DatabaseError> {
        answered(step::purge_past(&mut self.0, ended_before)).await
    }

    /// Makes block ranges that have been filled since findable by what is in them.
    pub async fn summarize_block_ranges(&mut self) -> Result<(), DatabaseError> {
        answered(step::summarize_block_ranges(&mut self.0)).await
    }
}
