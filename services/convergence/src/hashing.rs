//! Whether hashes of the two sides can be compared at all.

use sqlx::Row;

use crate::connect::Database;
use crate::error::CheckError;

/// A value of every kind of column that is published, hashed as rows are. The functions are not promised to stay the same
/// between major versions, and differ with the byte order of the machine.
const TEST_VECTOR: &str = "
    select hash_record_extended(
               row(1::smallint, -2::integer, 3::bigint, 4.50::numeric(12,2), 'caf\u{e9}'::text, true, null::text,
                   '16/B374D848'::pg_lsn, '01890a5d-ac96-774b-bcce-b302099a8057'::uuid,
                   timestamptz '2024-02-29 12:34:56.789012+00', date '2024-02-29', '\\x00ff'::bytea,
                   '{\"a\": [1, null]}'::jsonb),
               hashint2extended(1::smallint, hashint8extended(-3, hashtextextended('caf\u{e9}' collate \"C\",
                   timestamp_hash_extended(timestamp '2024-02-29 12:34:56.789012', 7)))))::text as hash,
           current_setting('server_version') as version,
           (select system_identifier from pg_control_system()) as system_identifier";

/// What a side says of itself.
pub(crate) struct Identity {
    hash: String,
    version: String,
    system_identifier: i64,
}

pub(crate) async fn identify(database: &mut Database) -> Result<Identity, CheckError> {
    database
        .ask_one("hashing the test row", sqlx::query(TEST_VECTOR), |row| {
            Ok(Identity {
                hash: row.try_get("hash")?,
                version: row.try_get("version")?,
                system_identifier: row.try_get("system_identifier")?,
            })
        })
        .await
}

/// Refuses two sides that are one cluster, or whose hashes mean different things.
pub(crate) fn comparable(primary: &Identity, replica: &Identity) -> Result<(), CheckError> {
    if primary.system_identifier == replica.system_identifier {
        return Err(CheckError::SameCluster { system_identifier: primary.system_identifier });
    }
    if primary.hash != replica.hash {
        return Err(CheckError::HashesDisagree {
            primary_version: primary.version.clone(),
            replica_version: replica.version.clone(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(hash: &str, system_identifier: i64) -> Identity {
        Identity { hash: hash.to_owned(), version: "15.1".to_owned(), system_identifier }
    }

    #[test]
    fn two_clusters_with_the_same_hashes_are_comparable() {
        assert!(comparable(&identity("7", 1), &identity("7", 2)).is_ok());
    }

    #[test]
    fn one_cluster_named_twice_is_refused() {
        let refused = comparable(&identity("7", 1), &identity("7", 1));
        assert!(matches!(refused, Err(CheckError::SameCluster { .. })));
    }

    #[test]
    fn versions_that_hash_differently_are_refused() {
        let refused = comparable(&identity("7", 1), &identity("8", 2));
        assert!(matches!(refused, Err(CheckError::HashesDisagree { .. })));
    }
}
