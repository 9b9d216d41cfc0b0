//! The slot on the primary that the subscription uses.

use sqlx::PgConnection;
use tandem_replication::{Lsn, PGOUTPUT, Position, Slot};

/// Why there is no slot for a subscription.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// One of the databases can't be asked, or has no room for a slot.
    #[error("can't reserve the replication slot")]
    Reserve(#[from] sqlx::Error),
    /// Another replica reads from it now.
    #[error(
        "slot {slot} on the primary is in use by another replica: give this one a name of its own (TANDEM_SUBSCRIPTION)"
    )]
    InUse {
        /// The slot's and the subscription's name.
        slot: String,
    },
    /// Nobody reads from it now, but this replica has not made it.
    #[error(
        "slot {slot} on the primary was not made by this replica: give this one a name of its own (TANDEM_SUBSCRIPTION), \
         or, if the slot's replica is gone for good, take it over (--take-over-slot)"
    )]
    OfAnotherReplica {
        /// The slot's and the subscription's name.
        slot: String,
    },
    /// Changes of it are gone.
    #[error(
        "slot {slot} on the primary is lost, for it fell too far behind: drop it there \
         (select pg_drop_replication_slot('{slot}')) and run this again"
    )]
    Lost {
        /// The slot's and the subscription's name.
        slot: String,
    },
    /// It is no slot of a subscription to this database.
    #[error("slot {slot} on the primary {what}: give this replica a name of its own (TANDEM_SUBSCRIPTION)")]
    Unfit {
        /// The slot's and the subscription's name.
        slot: String,
        /// How it differs: completes "slot … on the primary …".
        what: &'static str,
    },
}

/// What this replica knows of a slot that it has begun to make.
struct Reservation {
    system_identifier: i64,
    slot_lsn: Option<Lsn>,
}

impl Reservation {
    /// Whether it is the reservation of this slot: on the same primary, and not used since it was made. A slot that has
    /// another beginning was made by somebody else after ours was dropped.
    fn is_of(&self, slot: &Slot, system_identifier: i64) -> bool {
        let begun = self.slot_lsn.is_none() || self.slot_lsn == slot.confirmed_flush_lsn;
        self.system_identifier == system_identifier && begun
    }
}

/// Makes the slot in a step of its own. CREATE SUBSCRIPTION could do it, but killed at the wrong moment it leaves a
/// slot behind that makes every later try fail. Here the intention is written down on the replica first: whoever comes
/// back finds by it that the slot is its own. Changes that such a slot still holds from before the initial copy are
/// skipped by the apply worker.
pub async fn reserve(
    admin: &mut PgConnection,
    upstream: &mut PgConnection,
    slot: &str,
    take_over: bool,
) -> Result<(), SlotError> {
    let system_identifier = Position::current(&mut *upstream).await?.identity.system_identifier;
    if let Some(found) = Slot::find(&mut *upstream, slot).await? {
        let database = database(upstream).await?;
        let reservation = reservation(admin, slot).await?;
        let ours = reservation.is_some_and(|reservation| reservation.is_of(&found, system_identifier));
        return fit(&found, &database, ours || take_over);
    }
    begin_reservation(admin, slot, system_identifier).await?;
    let slot_lsn = Slot::make(upstream, slot, PGOUTPUT).await?;
    Ok(note_beginning(admin, slot, slot_lsn).await?)
}

/// Whether the subscription may use a slot that stands there.
fn fit(slot: &Slot, database: &str, allowed: bool) -> Result<(), SlotError> {
    let name = || slot.name.clone();
    let unfit = |what| Err(SlotError::Unfit { slot: name(), what });
    if slot.database.as_deref() != Some(database) {
        unfit("is of another database")
    } else if slot.plugin.as_deref() != Some(PGOUTPUT) {
        unfit("is of another output plugin")
    } else if slot.temporary {
        unfit("is temporary")
    } else if slot.active {
        Err(SlotError::InUse { slot: name() })
    } else if !allowed {
        Err(SlotError::OfAnotherReplica { slot: name() })
    } else if slot.wal_status.as_deref() == Some("lost") {
        Err(SlotError::Lost { slot: name() })
    } else {
        Ok(())
    }
}

async fn database(upstream: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!(r#"select current_database()::text as "name!""#).fetch_one(upstream).await
}

async fn reservation(admin: &mut PgConnection, slot: &str) -> Result<Option<Reservation>, sqlx::Error> {
    sqlx::query_as!(
        Reservation,
        r#"select system_identifier, slot_lsn as "slot_lsn: Lsn" from tandem.subscribing where subscription = $1"#,
        slot,
    )
    .fetch_optional(admin)
    .await
}

async fn begin_reservation(admin: &mut PgConnection, slot: &str, system_identifier: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tandem.subscribing (subscription, system_identifier) values ($1, $2)
        on conflict (subscription) do update
        set system_identifier = excluded.system_identifier, slot_lsn = null
        ",
        slot,
        system_identifier,
    )
    .execute(admin)
    .await
    .map(drop)
}

async fn note_beginning(admin: &mut PgConnection, slot: &str, slot_lsn: Option<Lsn>) -> Result<(), sqlx::Error> {
    sqlx::query!("update tandem.subscribing set slot_lsn = $2 where subscription = $1", slot, slot_lsn as Option<Lsn>)
        .execute(admin)
        .await
        .map(drop)
}

/// The slot is in use: nothing is left to come back to.
pub async fn end_reservation(admin: &mut PgConnection, slot: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from tandem.subscribing where subscription = $1", slot).execute(admin).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::{Lsn, Reservation, Slot, SlotError, fit};

    fn slot() -> Slot {
        Slot {
            name: "shop".to_owned(),
            database: Some("tandem".to_owned()),
            plugin: Some("pgoutput".to_owned()),
            temporary: false,
            active: false,
            active_pid: None,
            wal_status: Some("reserved".to_owned()),
            restart_lsn: Some(Lsn::new(90)),
            confirmed_flush_lsn: Some(Lsn::new(100)),
            retained_wal_bytes: 0,
            safe_wal_bytes: None,
        }
    }

    #[test]
    fn only_a_sound_slot_of_this_database_is_used_and_only_where_it_may_be() {
        assert!(fit(&slot(), "tandem", true).is_ok());
        assert!(matches!(fit(&slot(), "tandem", false), Err(SlotError::OfAnotherReplica { .. })));
        assert!(matches!(fit(&slot(), "other", true), Err(SlotError::Unfit { .. })));
        let plugin = Slot { plugin: Some("wal2json".to_owned()), ..slot() };
        assert!(matches!(fit(&plugin, "tandem", true), Err(SlotError::Unfit { .. })));
        let temporary = Slot { temporary: true, ..slot() };
        assert!(matches!(fit(&temporary, "tandem", true), Err(SlotError::Unfit { .. })));
        let active = Slot { active: true, ..slot() };
        assert!(matches!(fit(&active, "tandem", true), Err(SlotError::InUse { .. })));
        let lost = Slot { wal_status: Some("lost".to_owned()), ..slot() };
        assert!(matches!(fit(&lost, "tandem", true), Err(SlotError::Lost { .. })));
        assert!(matches!(fit(&lost, "tandem", false), Err(SlotError::OfAnotherReplica { .. })));
    }

    #[test]
    fn a_reservation_is_of_the_slot_that_begins_where_it_was_made() {
        let of = |system_identifier, lsn: Option<u64>| {
            Reservation { system_identifier, slot_lsn: lsn.map(Lsn::new) }.is_of(&slot(), 7)
        };
        assert!(of(7, Some(100)));
        assert!(of(7, None), "killed before it could note where");
        assert!(!of(7, Some(99)), "another slot of the same name");
        assert!(!of(8, Some(100)), "another primary");
    }
}
