//! Which server's WAL a position belongs to.

use chrono::{TimeDelta, Utc};
use sqlx::PgConnection;

use crate::{ConsistencyToken, Lsn};

/// One history of one PostgreSQL cluster. Positions of two identities can't be compared.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SystemIdentity {
    /// Made by initdb; a physical copy of a cluster shares it. PostgreSQL shows the 64 bits as a signed number.
    pub system_identifier: i64,
    /// Grows by one at each promotion.
    pub timeline: i32,
}

/// A position and the history that it lies in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// The history.
    pub identity: SystemIdentity,
    /// Where in it.
    pub lsn: Lsn,
}

impl Position {
    /// Where this server writes now: behind every transaction that has committed before the call.
    ///
    /// The server must be a primary: a server in recovery answers with an error.
    pub async fn current(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        // The timeline is the first eight hexadecimal digits of a WAL file's name. pg_control_checkpoint() has
        // it too, but only since the last checkpoint, which after a promotion is the one before it.
        let row = sqlx::query!(
            r#"
            select
                (select system_identifier from pg_control_system()) as "system_identifier!",
                ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer as "timeline!",
                pg_current_wal_insert_lsn() as "lsn!: Lsn"
            "#
        )
        .fetch_one(connection)
        .await?;
        let identity = SystemIdentity { system_identifier: row.system_identifier, timeline: row.timeline };
        Ok(Self { identity, lsn: row.lsn })
    }

    /// Up to where this server's WAL is safe on its disk: behind every transaction whose caller has been told of its
    /// commit, unless with `synchronous_commit` off. And how far the server's clock is ahead of this process's.
    ///
    /// Replicas are sent nothing before it is flushed. At the end of a page the position of
    /// [`current`](Self::current) lies behind the next page's header, where no record ends: a replica of a primary at
    /// rest would look late by it, and miss nothing.
    ///
    /// The way there is counted as if the server's clock were ahead by it: a time that is measured with the difference
    /// comes out too long by a round trip at most, and never too short.
    pub async fn flushed_with_clock(connection: &mut PgConnection) -> Result<(Self, TimeDelta), sqlx::Error> {
        let Self { identity, .. } = Self::current(&mut *connection).await?;
        let asked_at = Utc::now();
        let row = sqlx::query!(r#"select clock_timestamp() as "clock!", pg_current_wal_flush_lsn() as "lsn!: Lsn""#)
            .fetch_one(connection)
            .await?;
        Ok((Self { identity, lsn: row.lsn }, row.clock - asked_at))
    }

    /// The first half of [`flushed_with_clock`](Self::flushed_with_clock), without the history that it lies in.
    pub async fn flushed(connection: &mut PgConnection) -> Result<Lsn, sqlx::Error> {
        sqlx::query_scalar!(r#"select pg_current_wal_flush_lsn() as "lsn!: Lsn""#).fetch_one(connection).await
    }

    /// The token that covers everything before this position.
    pub fn token(self) -> ConsistencyToken {
        ConsistencyToken::new(self)
    }
}
