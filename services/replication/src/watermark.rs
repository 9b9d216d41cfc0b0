//! Watermarks: positions of the primary's WAL that travel to the replica as rows.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{Lsn, Position, SystemIdentity};

/// The newest watermark that is visible.
///
/// Where it was read on a replica, every transaction that committed before `position` is visible there too: it was
/// decoded and applied before the watermark's own transaction, which committed later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Watermark {
    /// A position on the primary.
    pub position: Position,
    /// When it was read there, by the primary's clock.
    pub written_at: DateTime<Utc>,
}

impl Watermark {
    /// Writes the row of `writer` with the position that this server has reached, and gives that position.
    ///
    /// Commits before this call are covered, since the position is read after them.
    pub async fn write(connection: &mut PgConnection, writer: &str) -> Result<Position, sqlx::Error> {
        let position = Position::current(&mut *connection).await?;
        sqlx::query!(
            "
            insert into tandem.watermark (writer, system_identifier, timeline, lsn, written_at)
            values ($1, $2, $3, $4, clock_timestamp())
            on conflict (writer) do update
            set system_identifier = excluded.system_identifier,
                timeline = excluded.timeline,
                lsn = excluded.lsn,
                written_at = excluded.written_at
            ",
            writer,
            position.identity.system_identifier,
            position.identity.timeline,
            position.lsn as Lsn,
        )
        .execute(connection)
        .await?;
        Ok(position)
    }

    /// The newest row of all writers; `None` before the first.
    pub async fn newest(connection: &mut PgConnection) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query!(
            r#"
            select system_identifier, timeline, lsn as "lsn: Lsn", written_at
            from tandem.watermark
            order by written_at desc, lsn desc
            limit 1
            "#
        )
        .fetch_optional(connection)
        .await?;
        Ok(row.map(|row| {
            let identity = SystemIdentity { system_identifier: row.system_identifier, timeline: row.timeline };
            Self { position: Position { identity, lsn: row.lsn }, written_at: row.written_at }
        }))
    }
}
