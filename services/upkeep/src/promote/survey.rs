//! What is there before anything is done, and what speaks against it.

use serde::Serialize;
use sqlx::PgConnection;
use tandem_convergence::Side;
use tandem_replication::{Position, Publication, PublishedTable, Slot, TableState};

use super::carry::Carried;
use super::fence::{self, Fence};
use super::published::Published;
use super::shape::Shape;
use super::turn::MIGRATIONS;
use crate::error::{UpkeepError, on};
use crate::sides::{Sides, publication};

const READING: &str = "reading its catalogs";

/// What a promotion is going to do: shown before it is agreed to.
#[derive(Clone, Debug, Serialize)]
pub struct PromotionPlan {
    /// The old primary's system identifier: tokens carry it.
    pub from_system: i64,
    /// The new one's.
    pub to_system: i64,
    /// The published tables (`schema.table`), which the replica has.
    pub published: Vec<String>,
    /// Tables that are copied while nobody can write, and about how many rows each has.
    pub carried: Vec<(String, i64)>,
    /// Tables of the primary that are neither: what an operator has made, and has to bring over himself.
    pub left_behind: Vec<String>,
    /// Slots of the old primary, each a replica's or another reader's, which are dropped.
    pub slots: Vec<String>,
    /// Rows in the replica's `tandem.set_aside`, which go with it.
    pub set_aside: i64,
    /// Whether writers are locked out already, by a promotion that was cut off.
    pub is_fenced: bool,
}

/// The plan, and what is needed to carry it out.
pub(super) struct Survey {
    pub(super) plan: PromotionPlan,
    pub(super) published: Vec<Published>,
    pub(super) from: Position,
}

impl Survey {
    /// Changes nothing. An error where the replica can't take the primary's place.
    pub(super) async fn of(sides: &mut Sides) -> Result<Self, UpkeepError> {
        let (on_primary, on_replica) = (on(Side::Primary, READING), on(Side::Replica, READING));
        let mut why = unfit_replica(sides).await?;
        let from = Position::current(&mut sides.primary).await.map_err(on_primary)?;
        let to = Position::current(&mut sides.replica).await.map_err(on_replica)?;
        why.extend(unfit_migrations(&mut sides.primary).await.map_err(on_primary)?);
        let published = Published::all(&mut sides.primary).await.map_err(on_primary)?;
        why.extend(published.iter().flat_map(Published::hindrances));
        for table in &published {
            let own = Shape::find(&mut sides.replica, &table.schema, &table.name).await.map_err(on_replica)?;
            match own {
                None => why.push(format!("the replica lacks the table {}", table.label())),
                Some(own) => {
                    why.extend(own.lacks(&table.shape).iter().map(|column| {
                        format!("{}.{column} is missing on the replica, or of another type", table.label())
                    }));
                }
            }
        }
        why.extend(unfit_tables(sides, &published).await?);
        if !why.is_empty() {
            return Err(UpkeepError::Unpromotable { why });
        }
        let is_fenced = match fence::look(&mut sides.primary).await? {
            Fence::Open => false,
            Fence::Ours(_) => true,
            Fence::Demoted | Fence::Others => return Err(UpkeepError::FencedByOthers { role: fence::WRITER }),
        };
        let plan = PromotionPlan {
            from_system: from.identity.system_identifier,
            to_system: to.identity.system_identifier,
            published: published.iter().map(Published::label).collect(),
            carried: carried(&mut sides.primary).await.map_err(on_primary)?,
            left_behind: left_behind(&mut sides.primary).await.map_err(on_primary)?,
            slots: slots(&mut sides.primary).await.map_err(on_primary)?,
            set_aside: sqlx::query_scalar("select count(*) from tandem.set_aside")
                .fetch_one(&mut sides.replica)
                .await
                .map_err(on_replica)?,
            is_fenced,
        };
        Ok(Self { plan, published, from })
    }
}

/// The permanent logical slots of this database: who stops being a primary holds none.
pub(super) async fn slots(primary: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let database: String = sqlx::query_scalar("select current_database()::text").fetch_one(&mut *primary).await?;
    let all = Slot::all(primary).await?;
    let own = all.into_iter().filter(|slot| !slot.temporary && slot.database.as_ref() == Some(&database));
    Ok(own.map(|slot| slot.name).collect())
}

async fn carried(primary: &mut PgConnection) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let mut all = Vec::new();
    for table in Carried::all(primary).await? {
        let rows = sqlx::query_scalar(
            "select greatest(reltuples, 0)::bigint from pg_class
            where relname = $2 and relnamespace = (select oid from pg_namespace where nspname = $1)",
        )
        .bind(&table.schema)
        .bind(&table.name)
        .fetch_one(&mut *primary)
        .await?;
        all.push((format!("{}.{}", table.schema, table.name), rows));
    }
    Ok(all)
}

async fn left_behind(primary: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "
        select format('%s.%s', namespace.nspname, class.relname)
        from pg_class as class
        join pg_namespace as namespace on namespace.oid = class.relnamespace
        where class.relkind in ('r', 'p') and class.relpersistence <> 't' and class.relname <> '_sqlx_migrations'
            and namespace.nspname not in ('sales', 'tandem', 'information_schema') and namespace.nspname !~ '^pg_'
            and not exists (
                select from pg_publication_rel
                join pg_publication as publication on publication.oid = prpubid
                where prrelid = class.oid and pubname = $1
            )
        order by 1
        ",
    )
    .bind(publication())
    .fetch_all(primary)
    .await
}

/// The stream must have brought every table, and must go on.
async fn unfit_replica(sides: &mut Sides) -> Result<Vec<String>, UpkeepError> {
    let subscription = sides.subscription().await?;
    if !subscription.enabled {
        return Err(UpkeepError::SwitchedOff { subscription: subscription.name });
    }
    sides.slot().await?;
    let copied = subscription.tables.iter().filter(|table| table.state != TableState::Ready);
    let mut why: Vec<String> = copied.map(|table| format!("{} is {}", table.name, table.state.as_str())).collect();
    let (wal_level, publishes, senders): (String, bool, bool) = sqlx::query_as(
        "select current_setting('wal_level'), exists (select from pg_publication where pubname = $1),
            current_setting('max_wal_senders')::integer > 0 and current_setting('max_replication_slots')::integer > 0",
    )
    .bind(publication())
    .fetch_one(&mut sides.replica)
    .await
    .map_err(on(Side::Replica, READING))?;
    if wal_level != "logical" || !senders {
        why.push(
            "replicas could not follow it: it needs wal_level = logical, max_wal_senders and max_replication_slots above 0 \
             (alter system, and a restart)"
                .to_owned(),
        );
    }
    if publishes {
        why.push(format!("the replica has a publication {} itself", publication()));
    }
    Ok(why)
}

/// The new primary is made by this build's migrations, and must become what the old one is.
async fn unfit_migrations(primary: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select version, checksum from public._sqlx_migrations order by version")
            .fetch_all(primary)
            .await?;
    let known: Vec<(i64, Vec<u8>)> =
        MIGRATIONS.iter().map(|migration| (migration.version, migration.checksum.to_vec())).collect();
    let missing = known.iter().filter(|migration| !applied.contains(migration)).map(|(version, _)| {
        format!("the primary lacks migration {version}, or has another of this number: run this build's `tandem-command migrate`")
    });
    let unknown =
        applied.iter().filter(|(version, _)| !known.iter().any(|(known, _)| known == version)).map(|(version, _)| {
            format!("the primary has migration {version}, which this build does not know: use a newer build")
        });
    Ok(missing.chain(unknown).collect())
}

async fn unfit_tables(sides: &mut Sides, published: &[Published]) -> Result<Vec<String>, UpkeepError> {
    let (on_primary, on_replica) = (on(Side::Primary, READING), on(Side::Replica, READING));
    let found = Publication::find(&mut sides.primary, publication()).await.map_err(on_primary)?;
    let is_ordinary = |table: &&PublishedTable| {
        published.iter().any(|known| known.schema == table.schema && known.name == table.name)
    };
    let named = found.map(|found| found.tables).unwrap_or_default();
    let mut why: Vec<String> = named
        .iter()
        .filter(|table| !is_ordinary(table))
        .map(|table| format!("{}.{} is published and no ordinary table", table.schema, table.name))
        .collect();
    let prepared: Vec<String> =
        sqlx::query_scalar("select gid from pg_prepared_xacts where database = current_database()")
            .fetch_all(&mut sides.primary)
            .await
            .map_err(on_primary)?;
    why.extend(prepared.iter().map(|name| {
        format!("the prepared transaction {name} on the primary may commit at any time: end it (commit prepared)")
    }));
    // What stands on the replica's own machinery would go with it.
    let standing: Vec<String> = sqlx::query_scalar(
        "
        select distinct format('%s stands on %s, which a primary does not have: drop it', rewrite.ev_class::regclass,
            refobjid::regclass)
        from pg_depend
        join pg_rewrite as rewrite on rewrite.oid = objid
        join pg_class as used on used.oid = refobjid
        join pg_class as view on view.oid = rewrite.ev_class
        where pg_depend.classid = 'pg_rewrite'::regclass and refclassid = 'pg_class'::regclass
            and used.relnamespace = 'tandem'::regnamespace and view.relnamespace <> 'tandem'::regnamespace
        ",
    )
    .fetch_all(&mut sides.replica)
    .await
    .map_err(on_replica)?;
    why.extend(standing);
    Ok(why)
}
