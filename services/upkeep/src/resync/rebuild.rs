//! All tables of a replica, also where its slot is lost.

use sqlx::{AssertSqlSafe, Connection as _};
use tandem_convergence::{Options, Side};
use tandem_replication::{Lsn, PublishedTable, Slot};
use tokio::time::sleep;

use super::construction::{Construction, Limit};
use super::{BETWEEN_LOOKS, Resynced, clean, label, published, swap};
use crate::error::{UpkeepError, on};
use crate::sides::{Addresses, Sides, Step};
use crate::table::quoted;

/// Builds all published tables of the replica anew, and compares both databases. Also where the subscription's slot is
/// gone or lost: a new one is made first.
///
/// Queries go on, and say how stale they are. Killed at any moment, it goes on where it was when it is run again: before
/// the new tables have taken the old ones' places it begins anew, after that it only has the stream to switch on. While
/// the stream is off, the subscription has no slot, so that nobody can switch it on by mistake.
///
/// # Errors
///
/// [`UpkeepError`] says what to do. A difference that the comparison finds is no error.
pub async fn rebuild(
    addresses: &Addresses,
    options: &Options,
    agree: impl Fn(&[String]) -> bool,
    observe: impl Fn(&Step) + Sync,
) -> Result<Resynced, UpkeepError> {
    observe(&Step::Connecting);
    let mut sides = Sides::connect(addresses).await?;
    let wanted = published(&mut sides).await?;
    let tables: Vec<String> = wanted.iter().map(label).collect();
    sides.subscription().await?;
    if !agree(&tables) {
        return Ok(Resynced { agreed: false, tables, verify: None });
    }
    if position(&mut sides).await?.is_none() {
        build(&mut sides, &wanted, &observe).await?;
    }
    observe(&Step::SwitchingOn);
    switch_on(&mut sides).await?;
    clean(&mut sides).await?;
    let verify = Some(sides.verify(options, &observe).await?);
    Ok(Resynced { agreed: true, tables, verify })
}

async fn build(
    sides: &mut Sides,
    wanted: &[PublishedTable],
    observe: &(impl Fn(&Step) + Sync),
) -> Result<(), UpkeepError> {
    if !has_slot(sides).await? {
        observe(&Step::SwitchingOff);
        switch_off(sides).await?;
        make_slot(sides).await?;
    }
    let mut construction = Construction::begin(sides, wanted, observe).await?;
    observe(&Step::CatchingUp("all tables".to_owned()));
    let copied = sides.barrier().await?;
    construction.advance(&mut sides.primary, &mut sides.replica, copied).await?;
    construction.vacuum(&mut sides.replica).await?;
    construction.compare(sides, Limit::None, observe).await?;
    observe(&Step::SwitchingOff);
    switch_off(sides).await?;
    let position = sides.barrier().await?;
    construction.advance(&mut sides.primary, &mut sides.replica, position).await?;
    swap::at_rest(sides, &mut construction, position, observe).await
}

/// Whether there is a slot with all that the subscription may still need.
async fn has_slot(sides: &mut Sides) -> Result<bool, UpkeepError> {
    match sides.slot().await {
        Ok(_) => Ok(true),
        Err(UpkeepError::SlotGone { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A slot of the subscription's name that begins now, in the place of one that is lost.
async fn make_slot(sides: &mut Sides) -> Result<(), UpkeepError> {
    let failed = on(Side::Primary, "making the slot anew");
    let name = &sides.addresses.subscription;
    if Slot::find(&mut sides.primary, name).await.map_err(failed)?.is_some() {
        let dropped = sqlx::query("select pg_drop_replication_slot($1)").bind(name).execute(&mut sides.primary).await;
        dropped.map_err(failed)?;
    }
    let make = "select pg_create_logical_replication_slot($1, 'pgoutput')";
    sqlx::query(make).bind(name).execute(&mut sides.primary).await.map(drop).map_err(failed)
}

/// Stops the stream, and takes the subscription's slot from it.
async fn switch_off(sides: &mut Sides) -> Result<(), UpkeepError> {
    let name = quoted(&sides.addresses.subscription);
    let failed = on(Side::Replica, "switching the subscription off");
    let off = format!("alter subscription {name} disable; alter subscription {name} set (slot_name = none)");
    sqlx::raw_sql(AssertSqlSafe(off)).execute(&mut sides.replica).await.map_err(failed)?;
    // Both ends: what a worker has not confirmed yet must not come after what we read.
    loop {
        let running = sides.subscription().await?.progress.running;
        let slot = Slot::find(&mut sides.primary, &sides.addresses.subscription).await;
        let active = slot.map_err(on(Side::Primary, "reading the slot"))?.is_some_and(|slot| slot.active);
        if !running && !active {
            return Ok(());
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

/// Behind which position the stream has to go on; `None` where the tables have not been swapped.
async fn position(sides: &mut Sides) -> Result<Option<Lsn>, UpkeepError> {
    sqlx::query_scalar("select lsn from tandem.rebuilt where subscription = $1")
        .bind(&sides.addresses.subscription)
        .fetch_optional(&mut sides.replica)
        .await
        .map_err(on(Side::Replica, "reading how far a rebuild has come"))
}

/// The stream goes on behind what the new tables hold.
async fn switch_on(sides: &mut Sides) -> Result<(), UpkeepError> {
    let failed = on(Side::Replica, "switching the subscription on");
    let Some(position) = position(sides).await? else { return Ok(()) };
    sqlx::query(
        "
        select pg_replication_origin_advance(format('pg_%s', oid), $2)
        from pg_catalog.pg_subscription
        where subname = $1 and subdbid = (select oid from pg_catalog.pg_database where datname = current_database())
        ",
    )
    .bind(&sides.addresses.subscription)
    .bind(position)
    .execute(&mut sides.replica)
    .await
    .map_err(failed)?;
    let name = quoted(&sides.addresses.subscription);
    // All or nothing: switched on and still written down, the next run would send the stream back.
    let mut transaction = sides.replica.begin().await.map_err(failed)?;
    for statement in [
        format!("alter subscription {name} set (slot_name = {name})"),
        format!("alter subscription {name} enable"),
        "delete from tandem.rebuilt".to_owned(),
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}
