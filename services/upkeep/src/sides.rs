//! A connection to each side, and what is asked of both.

use std::fmt;
use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tandem_convergence::{Options, Report, Side, check_observed};
use tandem_replication::{Lsn, PUBLICATION, Position, Slot, Subscription};

use crate::error::{UpkeepError, on};

/// Held by whoever is at work on a database, for as long as his session lasts: two at once would undo each other's work.
const LOCK: i64 = 0x7461_6e64_656d_0005;

/// Where the two databases are.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The primary, as a role that may replicate and read what is published.
    pub primary_url: String,
    /// The replica, as its administrator.
    pub replica_url: String,
    /// The subscription on the replica; its slot on the primary has the same name.
    pub subscription: String,
}

/// What is being done. Written with `{}`, it is a line for a spinner.
#[derive(Clone, Debug)]
pub enum Step {
    /// The connections are made and the catalogs read.
    Connecting,
    /// Changes that wait to be applied are looked through.
    LookingForConflicts(usize),
    /// Rows are moved away.
    Moving(usize),
    /// The apply worker has to come past a position.
    WaitingForApply(Lsn),
    /// A table is copied beside itself; how many rows are there.
    Copying(String, u64),
    /// What was copied is brought up to date.
    CatchingUp(String),
    /// What was copied is compared with the primary.
    Comparing(String),
    /// What was copied takes its table's place.
    Swapping(String),
    /// The stream stops.
    SwitchingOff,
    /// The stream goes on behind what the new tables hold.
    SwitchingOn,
    /// A step of a change of shape is carried out.
    Changing(String),
    /// A new column is filled in old rows; how many were.
    Filling(String, u64),
    /// Writers are locked out.
    Fencing,
    /// The replica becomes the primary; what is under way.
    Turning(String),
    /// Rows that no replica has are copied; how many were.
    Carrying(String, u64),
    /// The old primary lets nobody in who writes or follows it.
    Demoting,
    /// Both databases are compared.
    Verifying(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting to both databases"),
            Self::LookingForConflicts(changes) => write!(f, "looking for rows in the way, {changes} changes so far"),
            Self::Moving(rows) => write!(f, "setting {rows} rows aside"),
            Self::WaitingForApply(lsn) => write!(f, "waiting until the replica has applied {lsn}"),
            Self::Copying(table, rows) => write!(f, "copying {table} beside itself, {rows} rows so far"),
            Self::CatchingUp(table) => write!(f, "bringing the copy of {table} up to date"),
            Self::Comparing(table) => write!(f, "comparing the copy of {table} with the primary"),
            Self::Swapping(table) => write!(f, "putting the copy of {table} in its place"),
            Self::SwitchingOff => f.write_str("switching the stream off"),
            Self::SwitchingOn => f.write_str("switching the stream on"),
            Self::Changing(what) => f.write_str(what),
            Self::Filling(table, rows) => write!(f, "filling {table}, {rows} rows so far"),
            Self::Fencing => f.write_str("locking writers out"),
            Self::Turning(what) => write!(f, "turning the replica into the primary: {what}"),
            Self::Carrying(table, rows) => write!(f, "carrying {table} over, {rows} rows so far"),
            Self::Demoting => f.write_str("taking the slots of the old primary away"),
            Self::Verifying(what) => write!(f, "verifying: {what}"),
        }
    }
}

/// Both databases; under the lock of whoever heals this replica, unless he only looks.
pub(crate) struct Sides {
    pub(crate) primary: PgConnection,
    pub(crate) replica: PgConnection,
    pub(crate) addresses: Addresses,
}

impl Sides {
    pub(crate) async fn connect(addresses: &Addresses) -> Result<Self, UpkeepError> {
        let mut sides = Self::to_look(addresses).await?;
        lock(&mut sides.replica, Side::Replica).await?;
        Ok(sides)
    }

    /// Without the lock: for who looks and changes nothing.
    pub(crate) async fn to_look(addresses: &Addresses) -> Result<Self, UpkeepError> {
        let primary = connect(Side::Primary, &addresses.primary_url).await?;
        let replica = connect(Side::Replica, &addresses.replica_url).await?;
        Ok(Self { primary, replica, addresses: addresses.clone() })
    }

    /// A further connection to the replica, for what must not wait for the first.
    pub(crate) async fn another_replica(&self) -> Result<PgConnection, UpkeepError> {
        connect(Side::Replica, &self.addresses.replica_url).await
    }

    /// A further connection to the primary, for a snapshot.
    pub(crate) async fn another_primary(&self) -> Result<PgConnection, UpkeepError> {
        connect(Side::Primary, &self.addresses.primary_url).await
    }

    pub(crate) async fn subscription(&mut self) -> Result<Subscription, UpkeepError> {
        let name = &self.addresses.subscription;
        let found = Subscription::find(&mut self.replica, name).await;
        let found = found.map_err(on(Side::Replica, "reading the subscription"))?;
        found.ok_or_else(|| UpkeepError::NotSubscribed { subscription: name.clone() })
    }

    /// The subscription's slot, which must be there with all its changes.
    pub(crate) async fn slot(&mut self) -> Result<Slot, UpkeepError> {
        let name = &self.addresses.subscription;
        let gone = |what| UpkeepError::SlotGone { slot: name.clone(), what };
        let found = Slot::find(&mut self.primary, name).await.map_err(on(Side::Primary, "reading the slot"))?;
        let slot = found.ok_or_else(|| gone("is not there"))?;
        if slot.wal_status.as_deref() == Some("lost") { Err(gone("is lost")) } else { Ok(slot) }
    }

    /// A change has been applied if its commit's record begins before this, and will be applied otherwise. What is
    /// visible in a snapshot that was taken before this call is of changes before it.
    ///
    /// The progress of the replication origin alone is empty before the first change. It runs ahead of what is visible, and
    /// never behind.
    pub(crate) async fn applied(&mut self) -> Result<Lsn, UpkeepError> {
        let origin: Option<Lsn> = sqlx::query_scalar(
            "
            select pg_replication_origin_progress(format('pg_%s', oid), false)
            from pg_catalog.pg_subscription
            where subname = $1 and subdbid = (select oid from pg_catalog.pg_database where datname = current_database())
            ",
        )
        .bind(&self.addresses.subscription)
        .fetch_one(&mut self.replica)
        .await
        .map_err(on(Side::Replica, "reading how far apply is"))?;
        let confirmed = self.slot().await?.confirmed_flush_lsn;
        Ok(origin.unwrap_or_default().max(confirmed.unwrap_or_default()))
    }

    /// Up to where the primary has flushed its WAL: all that a slot can be asked for.
    pub(crate) async fn flushed(&mut self) -> Result<Lsn, UpkeepError> {
        Position::flushed(&mut self.primary).await.map_err(on(Side::Primary, "reading its position"))
    }

    /// Behind the commit of everything that is visible on the primary, and flushed: a slot can be read up to there. A message
    /// is committed for it, which is in no publication.
    pub(crate) async fn barrier(&mut self) -> Result<Lsn, UpkeepError> {
        sqlx::query("select pg_logical_emit_message(true, 'tandem', '')")
            .execute(&mut self.primary)
            .await
            .map_err(on(Side::Primary, "writing a message"))?;
        self.flushed().await
    }

    pub(crate) async fn verify(
        &self,
        options: &Options,
        observe: &(impl Fn(&Step) + Sync),
    ) -> Result<Report, UpkeepError> {
        let Addresses { primary_url, replica_url, .. } = &self.addresses;
        let observe = |phase: &tandem_convergence::Phase| observe(&Step::Verifying(phase.to_string()));
        Ok(check_observed(primary_url, replica_url, options, observe).await?)
    }

    /// A name for a slot of this session, which no other session uses.
    pub(crate) async fn slot_name(&mut self) -> Result<String, UpkeepError> {
        sqlx::query_scalar("select format('tandem_upkeep_%s', pg_backend_pid())")
            .fetch_one(&mut self.primary)
            .await
            .map_err(on(Side::Primary, "naming a slot"))
    }
}

/// For as long as the session lasts, nobody else does what is done here to this database.
pub(crate) async fn lock(connection: &mut PgConnection, side: Side) -> Result<(), UpkeepError> {
    let locked = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK).fetch_one(connection).await;
    if locked.map_err(on(side, "taking the lock of upkeep"))? { Ok(()) } else { Err(UpkeepError::Busy) }
}

/// The publication that replicas follow.
pub(crate) const fn publication() -> &'static str {
    PUBLICATION
}

/// Text in a form that does not hang on a server's settings, since values travel as text.
pub(crate) async fn connect(side: Side, url: &str) -> Result<PgConnection, UpkeepError> {
    let failed = |source| UpkeepError::Connect { side, source };
    let options = PgConnectOptions::from_str(url)
        .map_err(failed)?
        .application_name("tandem-upkeep")
        .options([
            ("search_path", "pg_catalog"),
            ("datestyle", "ISO"),
            ("intervalstyle", "postgres"),
            ("timezone", "UTC"),
            ("extra_float_digits", "3"),
            ("bytea_output", "hex"),
            // A commit of ours is flushed when it is answered.
            ("synchronous_commit", "on"),
        ])
        .disable_statement_logging();
    PgConnection::connect_with(&options).await.map_err(failed)
}
