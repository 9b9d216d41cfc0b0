//! Moves rows out of the way and keeps them.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tandem_convergence::Side;
use tandem_replication::Lsn;

use super::Conflict;
use crate::error::{UpkeepError, on};
use crate::table::relation;

const DOING: &str = "setting rows aside";

/// Moves the rows to `tandem.set_aside`, all or none. A row that is not there any more in the version that was looked at
/// stays: somebody else has dealt with it, and what stands there now may be the primary's.
pub(crate) async fn set_aside(replica: &mut PgConnection, conflicts: &[Conflict]) -> Result<(), UpkeepError> {
    let failed = on(Side::Replica, DOING);
    let mut transaction = replica.begin().await.map_err(failed)?;
    for conflict in conflicts {
        let version = &conflict.version;
        let statement = format!(
            "with moved as (
                delete from {} as standing
                where standing.ctid = $1::text::tid and standing.xmin::text = $2
                returning to_jsonb(standing) as contents
            )
            insert into tandem.set_aside (table_name, key, contents, arriving, commit_lsn)
            select $3, $4, moved.contents, $5, $6 from moved",
            relation(&version.schema, &version.name)
        );
        let moved = sqlx::query(AssertSqlSafe(statement))
            .bind(&version.ctid)
            .bind(&version.xmin)
            .bind(&conflict.table)
            .bind(&conflict.key)
            .bind(&conflict.arriving)
            .bind(conflict.commit_lsn as Lsn)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        if moved.rows_affected() != 1 {
            return Err(UpkeepError::RowChanged { table: conflict.table.clone(), key: conflict.key.to_string() });
        }
    }
    transaction.commit().await.map_err(failed)
}
